"""func-e, which gets an Envoy and starts it."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import subprocess
import tarfile
import threading
from pathlib import Path

from harness.envoy import ROOT, SHIPPED, Envoy, binary
from harness.tools import tool

# Refuses connections, so that func-e gets nothing from another machine.
NOWHERE = "http://127.0.0.1:1/"
PLATFORM = "linux/amd64"


def version() -> str:
    """The version of the Envoy under test, as func-e writes it."""
    shown = subprocess.run([binary(), "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.search(r"/(\d+\.\d+\.\d+)/", shown).group(1)


def environment(home: Path, **more: str) -> dict:
    """The variables of a func-e that keeps its files in `home`, and knows of no version."""
    folders = {name: str(home / name) for name in ("CONFIG_HOME", "DATA_HOME", "STATE_HOME", "RUNTIME_DIR")}
    found = {f"FUNC_E_{name}": folder for name, folder in folders.items()}
    return {"PATH": os.environ["PATH"], "FUNC_E_PLATFORM": PLATFORM, "ENVOY_VERSIONS_URL": NOWHERE, **found, **more}


def installed(home: Path) -> Path:
    """Where func-e keeps the version under test."""
    return home / "DATA_HOME" / "envoy-versions" / version()


def install(home: Path) -> Path:
    """Puts the Envoy under test where func-e looks for its version."""
    envoy = installed(home) / "bin" / "envoy"
    envoy.parent.mkdir(parents=True)
    envoy.symlink_to(binary())
    return envoy


def children(pid: int) -> list:
    """The processes that a process has started, by any of its threads."""
    found = [file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for each in found for child in each]


def command_of(pid: int) -> str:
    """The path by which a process was started."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()


class FuncE(Envoy):
    """`func-e run -c FILE` in the root of the repository, with the shipped envoy.yaml on free ports.

    Envoy writes the first line of the access log at once, and the others only when it ends.
    """

    def __init__(self, upstream_port: int, home: Path, **env: str) -> None:
        super().__init__(upstream_port, patch=as_shipped)
        self.home = home
        self.env |= env

    def spawn(self) -> None:
        config = self.folder / "envoy.json"
        config.write_text(json.dumps(self.document.data))
        command = [str(tool("func-e")), "run", "-c", str(config), "--use-dynamic-base-id", "--concurrency", "2"]
        command += ["--admin-address-path", str(self.folder / "admin"), "--drain-time-s", "1"]
        command += ["--file-flush-interval-msec", "3600000", "-l", "warning"]
        with open(self.folder / "access", "wb") as access, open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(self.home, **self.env),
                stdin=subprocess.DEVNULL,
                stdout=access,
                stderr=log,
            )

    @property
    def envoy(self) -> int:
        """The process id of Envoy."""
        (pid,) = children(self.process.pid)
        return pid

    def accesses(self) -> list:
        """The access log. func-e writes lines of its own between."""
        lines = (self.folder / "access").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


def as_shipped(document) -> None:
    """Restores the path of the module, which is relative to the root of the repository."""
    shipped = type(document)(SHIPPED.read_text())
    document.guard["vm_config"]["code"] = shipped.guard["vm_config"]["code"]


class Versions:
    """A server on loopback that offers the Envoy under test, as ENVOY_VERSIONS_URL does.

    `sha256` is the checksum that it announces, by default the true one.
    """

    def __init__(self, folder: Path) -> None:
        archive = folder / f"envoy-v{version()}.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
            packed.add(os.path.realpath(binary()), arcname=f"envoy-v{version()}/bin/envoy")
        self.archive = archive.read_bytes()
        self.name = archive.name
        self.sha256 = hashlib.sha256(self.archive).hexdigest()
        self.asked: list = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Versions":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str) -> bytes:
        self.asked.append(path)
        if path == f"/{self.name}":
            return self.archive
        tarballs = {PLATFORM: f"{self.url}/{self.name}"}
        release = {"releaseDate": "2026-01-01", "tarballs": tarballs}
        return json.dumps({"versions": {version(): release}, "sha256sums": {self.name: self.sha256}}).encode()

    def _handler(self):
        versions = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = versions._answer(self.path)
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_) -> None:
                pass

        return Handler
