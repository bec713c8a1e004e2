"""Envoy's rate limit service, the reference implementation, and the Redis that holds its counters."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

from harness.edge import FOLDER
from harness.polling import until
from harness.ports import free_ports
from harness.process import end
from harness.tools import tool

# The folder that the service reads, as shipped.
LIMITS = FOLDER / "ratelimit"


class Program:
    """A process on loopback ports of its own. `kill`, `hang` and `resume` are its faults."""

    def __init__(self, folder: Path, ports: int) -> None:
        self.folder = folder
        self.ports = free_ports(ports)
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_) -> None:
        self.resume()
        end(self.process, 5)

    def start(self):
        """Starts the process, and waits until it answers."""
        with open(self.folder / f"{type(self).__name__}.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            until(self._is_ready, what=f"{type(self).__name__} to become ready")
        except BaseException:
            end(self.process, 5)
            raise
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def hang(self) -> None:
        """The process keeps its connections, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)
        until(self._is_stopped, what="the end of all threads' work")

    def _is_stopped(self) -> bool:
        """A signal stops the threads one after the other, and one may still answer."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/stat")
        return {thread.read_text().rpartition(") ")[2][0] for thread in threads} == {"T"}

    def resume(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)

    def command(self) -> list:
        raise NotImplementedError

    def environment(self) -> dict:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, (self.folder / f"{type(self).__name__}.log").read_text()[-4000:]
        with contextlib.suppress(OSError):
            return self.answers()
        return False


class Redis(Program):
    """Redis without persistence."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1)
        (self.port,) = self.ports

    def command(self) -> list:
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        return [str(tool("redis-server")), *options]

    def environment(self) -> dict:
        return {"PATH": os.environ["PATH"]}

    def answers(self) -> bool:
        return self.ask("PING") == b"+PONG\r\n"

    def keys(self) -> list:
        """The names of all counters."""
        return [line for line in self.ask("KEYS *").decode().split("\r\n") if line.startswith("webhooks")]

    def ask(self, command: str) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(command.encode() + b"\r\nQUIT\r\n")
            with connection.makefile("rb") as answer:
                return answer.read().removesuffix(b"+OK\r\n")


class RateLimitService(Program):
    """The service with the shipped limits. `port` speaks gRPC."""

    def __init__(self, folder: Path, redis: Redis) -> None:
        super().__init__(folder, 3)
        self.http_port, self.port, self.debug_port = self.ports
        self.redis = redis

    def command(self) -> list:
        return [str(tool("service_cmd"))]

    def environment(self) -> dict:
        ports = {"PORT": self.http_port, "GRPC_PORT": self.port, "DEBUG_PORT": self.debug_port}
        return {
            **documented(),
            **{name: str(port) for name, port in ports.items()},
            "REDIS_URL": f"127.0.0.1:{self.redis.port}",
            "RUNTIME_ROOT": str(LIMITS),
        }

    def answers(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/healthcheck", timeout=10) as answer:
            return answer.status == 200


def documented() -> dict:
    """The variables of the command on the page."""
    page = (FOLDER / "README.md").read_text()
    (command,) = re.findall(r"^```sh\n(REDIS_SOCKET_TYPE=.*?) ratelimit\n```$", page, re.MULTILINE | re.DOTALL)
    return dict(word.split("=", 1) for word in command.replace("\\\n", "").split())
