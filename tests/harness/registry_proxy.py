"""HAProxy before a registry without TLS, for registries that ask for a password or have a fault."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
from pathlib import Path

from harness.polling import until
from harness.process import end
from harness.tools import tool

CONFIGURATION = """
defaults
    mode http
    timeout connect 30s
    timeout client 30s
    timeout server 30s
userlist users
    user publisher insecure-password secret
frontend proxy
    bind {host}
    http-request {rule}
    default_backend registry
backend registry
    server registry {registry}
"""
# pilot-agent of Istio 1.31 refuses a realm that is not a URL.
PASSWORD = "auth realm https://registry.example.com/ unless { http_auth(users) }"


class RegistryProxy:
    """A proxy at an address. `rule` is an http-request rule of HAProxy, such as PASSWORD: the user is publisher, with `secret`."""

    def __init__(self, registry: str, address: str, port: int, folder: Path, rule: str = PASSWORD) -> None:
        self.host = f"{address}:{port}"
        self._folder = folder
        (folder / "haproxy.cfg").write_text(CONFIGURATION.format(host=self.host, rule=rule, registry=registry))

    def __enter__(self) -> RegistryProxy:
        with open(self._folder / "haproxy.log", "wb") as log:
            command = [tool("haproxy"), "-db", "-f", self._folder / "haproxy.cfg"]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._listens, what="HAProxy to listen")
        return self

    def __exit__(self, *_) -> None:
        end(self._process, 10)

    def credentials(self, folder: Path, password: str) -> None:
        """Writes what `docker login` writes into the folder DOCKER_CONFIG."""
        auth = base64.b64encode(f"publisher:{password}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))

    def _listens(self) -> bool:
        assert self._process.poll() is None, (self._folder / "haproxy.log").read_text()
        try:
            socket.create_connection(self.host.split(":"), timeout=1).close()
        except OSError:
            return False
        return True
