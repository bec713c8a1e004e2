#!/usr/bin/env python3
"""Starts Envoy with the guard and a small upstream, and prints requests to try. Ctrl-C stops it.

The default is envoy.yaml. With --edge, it is the production setup edge.yaml, with a new self-signed certificate.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import hmac
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import fetch
from upstream import Upstream

ROOT = Path(__file__).resolve().parent.parent
# The certificate, the key and their authority, where edge-certificate.json expects them.
CERTIFICATES = ROOT / "target" / "edge"
# Both logs of each running Envoy in one file, by port. `make watch` reads it.
LOGS = ROOT / "target" / "run"
MODULE = ROOT / "target" / "wasm32-wasip1" / "release" / "webhook_guard.wasm"
DEMO_SECRET = "dev-only-webhook-secret"
READY_SECONDS = 30
# The prefix of the guard's log lines about a request: the names of plugin, root and VM.
GUARD_LINE = "wasm log webhook_guard webhook_guard webhook_guard: "
# The prefix of its other lines: the names of root and VM.
ROOT_LINE = "wasm log webhook_guard webhook_guard: "
# The prefix of the guard's messages about its configuration.
GUARD_SAYS = ("webhook-guard: ", "webhook-guard ")
# The ports in the order of a configuration, and the purpose of each.
PORTS = {
    "admin_port": "Envoy's admin interface",
    "port": "Envoy",
    "upstream_port": "the upstream",
}
PORT = re.compile(r"^([^#\n]*port_value: )(\d+)", re.MULTILINE)


class Failure(Exception):
    """Envoy cannot run. The text says why and what to do."""


class Stopped(Exception):
    """A signal asked the program to stop."""


class Stop:
    """Turns SIGINT, SIGTERM and SIGHUP into a flag, so that each step ends cleanly."""

    def __init__(self) -> None:
        self.asked = False
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, self._ask)

    def _ask(self, *_) -> None:
        self.asked = True

    def sleep(self, seconds: float) -> None:
        """Sleeps, and raises `Stopped` after a signal."""
        if not self.asked:
            time.sleep(seconds)
        if self.asked:
            raise Stopped


def main() -> int:
    stop = Stop()
    try:
        run(arguments(), stop)
    except Stopped:
        say("run", "stopped")
    except (Failure, fetch.Failure) as failure:
        if not stop.asked:
            print(f"run: {failure}", file=sys.stderr)
            return 1
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", action="store_true", help="start edge.yaml instead of envoy.yaml")
    for name, owner in PORTS.items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=int, help=f"{owner}'s port, instead of the configuration's")
    return parser.parse_args()


def run(wanted: argparse.Namespace, stop: Stop) -> None:
    if not MODULE.exists():
        raise Failure(f"{MODULE.relative_to(ROOT)} does not exist: run `make build`")
    shipped = ROOT / "envoy" / ("edge.yaml" if wanted.edge else "envoy.yaml")
    config, ports = with_ports(shipped.read_text(), wanted)
    for name, port in vars(ports).items():
        check_free(name, port, "make run-edge" if wanted.edge else "make run")
    binary = fetch.find()
    if wanted.edge:
        make_certificate()
    secret = os.environ.get("WEBHOOK_SECRET") or DEMO_SECRET
    with contextlib.ExitStack() as ends:
        upstream = ends.enter_context(Upstream(ports.upstream_port, lambda line: say("upstream", line)))
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        ends.callback(upstream.shutdown)
        folder = ends.enter_context(tempfile.TemporaryDirectory(prefix="webhook-guard-"))
        file = Path(folder) / shipped.name
        file.write_text(config)
        LOGS.mkdir(parents=True, exist_ok=True)
        log = LOGS / f"{ports.port}.log"
        ends.callback(log.unlink, missing_ok=True)
        envoy = Envoy(binary, file, secret, log)
        ends.callback(envoy.end)
        envoy.wait_until_ready(ports.admin_port, stop)
        print(commands(ports, secret, wanted.edge), flush=True)
        while True:
            stop.sleep(0.1)
            envoy.check_alive()


def with_ports(config: str, wanted: argparse.Namespace) -> tuple:
    """A configuration with the requested ports, and all ports by name."""
    ports = argparse.Namespace()
    names = iter(PORTS)

    def port(found: re.Match) -> str:
        name = next(names)
        setattr(ports, name, getattr(wanted, name) or int(found[2]))
        return f"{found[1]}{getattr(ports, name)}"

    return PORT.sub(port, config), ports


def check_free(name: str, port: int, command: str) -> None:
    """Fails if the port is in use, and says how to choose another one for `command`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Failure(
                f"port {port} for {PORTS[name]} is not available ({error.strerror}): stop the program "
                f"that uses it, or choose another: {command} {name.upper()}={port + 1}"
            ) from None


def make_certificate() -> None:
    """Writes a new authority and its certificate for this machine over the previous ones."""
    try:
        import trustme
    except ImportError:
        raise Failure("the Python package trustme is not installed: run `make run-edge`, which installs it") from None
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1", "::1")
    CERTIFICATES.mkdir(parents=True, exist_ok=True)
    authority.cert_pem.write_to_path(CERTIFICATES / "ca.crt")
    certificate.private_key_pem.write_to_path(CERTIFICATES / "tls.key")
    (CERTIFICATES / "tls.key").chmod(0o600)
    (CERTIFICATES / "tls.crt").write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))


class Envoy:
    """The Envoy process. Its output goes to the terminal line by line, and also to a file."""

    def __init__(self, binary: Path, config: Path, secret: str, log: Path) -> None:
        command = [str(binary), "-c", str(config), "--use-dynamic-base-id", "--concurrency", "2"]
        command += ["-l", "warn", "--component-log-level", "wasm:info"]
        command += ["--file-flush-interval-msec", "100"]
        environment = {**os.environ, "ENVIRONMENT": "development", "WEBHOOK_SECRET": secret}
        self.last = collections.deque(maxlen=12)
        self.said_of_configuration = set()
        self.is_ready = False
        # A separate session, so that Ctrl-C reaches only this program.
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        copy = log.open("wb", buffering=0)
        self.readers = [
            threading.Thread(target=self.read, args=(self.process.stdout, "access", copy), daemon=True),
            threading.Thread(target=self.read, args=(self.process.stderr, "envoy", copy), daemon=True),
        ]
        for each in self.readers:
            each.start()

    def read(self, stream, name: str, copy) -> None:
        for raw in stream:
            copy.write(raw)
            self.show(raw.decode(errors="replace").rstrip(), name)

    def show(self, line: str, name: str) -> None:
        _, of_the_guard, text = line.partition(ROOT_LINE if ROOT_LINE in line else GUARD_LINE)
        if text.startswith(GUARD_SAYS):
            # Each worker repeats the line.
            if text not in self.said_of_configuration:
                self.said_of_configuration.add(text)
                say("guard", text)
        elif self.is_ready:
            say("guard" if of_the_guard else name, text or line)
        else:
            # The other lines matter only if the start fails.
            self.last.append(line)

    def wait_until_ready(self, admin_port: int, stop: Stop) -> None:
        for _ in range(READY_SECONDS * 10):
            self.check_alive()
            if answers(f"http://127.0.0.1:{admin_port}/ready"):
                self.is_ready = True
                return
            stop.sleep(0.1)
        raise Failure(f"Envoy was not ready within {READY_SECONDS} s. Its last lines:\n" + self.said())

    def check_alive(self) -> None:
        if self.process.poll() is None:
            return
        for each in self.readers:
            each.join(2)
        raise Failure(f"Envoy ended with status {self.process.returncode}. Its last lines:\n" + self.said())

    def said(self) -> str:
        return "\n".join(f"  {line}" for line in self.last)

    def end(self) -> None:
        self.is_ready = False
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except (OSError, urllib.error.URLError):
        return False


def commands(ports: argparse.Namespace, secret: str, edge: bool) -> str:
    """Commands to paste into another terminal, each with the expected status."""
    body = '{"order": 42}'
    signature = hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
    forged = hmac.new(b"not the secret", body.encode(), hashlib.sha256).hexdigest()
    requests = [
        ("200  signed with the secret: Envoy forwards it", body, signature),
        ("401  forged: signed with another secret", body, forged),
        ("401  without a signature", body, None),
        ("401  changed after signing", body.replace("42", "43"), signature),
    ]
    where = f"http://127.0.0.1:{ports.port}/webhook"
    words = ["curl", "-i", where]
    if edge:
        # Envoy rejects a request before its body has arrived. Over HTTP/2, curl 7.88 reports that as an error.
        words = ["curl", "-i", "--http1.1", "--cacert", str(CERTIFICATES / "ca.crt")]
        words.append(where.replace("http", "https", 1))
    lines = ["", f"Envoy with webhook-guard listens on 127.0.0.1:{ports.port}. Try these in another terminal:"]
    for expected, sent, value in requests:
        lines += ["", f"# {expected}", curl(words, sent, value)]
    whose = DEMO_SECRET if secret == DEMO_SECRET else "your WEBHOOK_SECRET"
    lines += [
        "",
        "Metrics:                  "
        f"http://127.0.0.1:{ports.admin_port}/stats?usedonly&filter=webhook_guard",
        f"Metrics for Prometheus:   http://127.0.0.1:{ports.admin_port}/stats/prometheus?filter=webhook_guard",
        f"Verdicts, live:           make watch{'' if ports.port == 10000 else f' PORT={ports.port}'}",
        "",
        f"The secret is {whose}. Ctrl-C stops everything. The log follows.",
        "",
    ]
    return "\n".join(lines)


def curl(words: list, body: str, signature: str | None) -> str:
    headers = ["content-type: application/json"]
    headers += [f"X-Webhook-Signature: {signature}"] if signature else []
    for each in headers:
        words = [*words, "-H", each]
    return " ".join(map(shlex.quote, [*words, "-d", body]))


def say(name: str, line: str) -> None:
    """Prints a line with its control characters escaped, because a request can write some of it."""
    shown = "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in line)
    print(f"[{name}] {shown}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
