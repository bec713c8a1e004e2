"""A load generator, an upstream, and the CPU time of processes, for the benchmark of whole requests."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.polling import until
from harness.ports import free_ports
from harness.process import end, listens
from harness.tools import tool

PATH = "/webhook"


def cpus() -> tuple:
    """The CPU of the servers under test, and that of the load generator and the upstream."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


@contextlib.contextmanager
def on_cpu(number: int):
    """Runs processes that start within on this CPU alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_nanoseconds(*pids: int) -> int:
    """The CPU time that the kernel has counted for all threads of these processes."""
    files = [file for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(file.read_text().split()[0]) for file in files)


@dataclass(frozen=True)
class Load:
    """Requests that are all the same: the arguments of h2load, and the class of the status of each answer."""

    body: Path
    headers: tuple
    protocol: str
    status: int
    connections: int
    streams: int
    path: str = PATH

    def arguments(self) -> list:
        protocol = ["--h1"] if self.protocol == "HTTP/1.1" else ["-m", str(self.streams)]
        headers = [f"-H{name}: {value}" for name, value in self.headers]
        return [f"-c{self.connections}", *protocol, "-d", str(self.body), *headers]


@dataclass(frozen=True)
class Round:
    """The measures of one peer in one round."""

    cpu: float
    rate: float
    p50: float
    p99: float
    # The share of the time in which the servers used their CPU.
    busy: float


def measure(load: Load, port: int, pids: list, count: int, folder: Path, scheme: str = "http") -> Round:
    """Sends so many requests. CPU times and latencies are in microseconds."""
    log = folder / "latencies"
    log.unlink(missing_ok=True)
    # Each connection sends as many requests as the others, so that all of them are busy until the end.
    count = max(1, round(count / load.connections)) * load.connections
    command = [str(tool("h2load")), *load.arguments(), f"-n{count}", f"--log-file={log}"]
    command.append(f"{scheme}://127.0.0.1:{port}{load.path}")
    before = cpu_nanoseconds(*pids)
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    used = cpu_nanoseconds(*pids) - before
    check(run.stdout, count, load.status)
    seconds = read_seconds(run.stdout)
    latencies = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
    return Round(
        cpu=used / 1000 / count,
        rate=count / seconds,
        p50=statistics.median(latencies),
        p99=latencies[len(latencies) * 99 // 100],
        busy=used / 1e9 / seconds,
    )


def check(output: str, count: int, status: int) -> None:
    """Fails unless each request was answered with a status of this class."""
    found = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    if not found or int(found.group(status // 100 - 1)) != count:
        raise AssertionError(f"h2load sent {count} requests, and not all answers are {status}:\n{output}")


def read_seconds(output: str) -> float:
    """How long h2load took."""
    number, unit = re.search(r"finished in ([\d.]+)(us|ms|s|m),", output).groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


class Upstream:
    """An nginx that reads each request, and answers 200."""

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="webhook-guard-")
        self.folder = Path(self._scratch.name)
        (self.port,) = free_ports(1)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        (self.folder / "nginx.conf").write_text("\n".join([
            f"daemon off; master_process off; pid {self.folder}/pid; error_log stderr warn;",
            "events { worker_connections 1024; }",
            "http {",
            "access_log off; keepalive_requests 1000000000; client_max_body_size 0;",
            *(f"{kind}_temp_path {self.folder}/{kind};" for kind in kinds),
            f'server {{ listen 127.0.0.1:{self.port}; location / {{ return 200 "ok"; }} }}',
            "}",
        ]))
        self.process = None

    def __enter__(self) -> "Upstream":
        command = [str(tool("nginx")), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(self._listens, what="nginx to listen")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        end(self.process, 5)

    def _listens(self) -> bool:
        return listens(self.process, self.port, "nginx", (self.folder / "log").read_text)
