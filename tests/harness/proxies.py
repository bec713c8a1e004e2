"""Real proxies before an edge, nginx, HAProxy and Caddy, with the configuration that envoy/proxies/ holds."""

from __future__ import annotations

import functools
import re
import subprocess
import tempfile
from pathlib import Path

from harness.edge import FOLDER, Edge
from harness.polling import until
from harness.ports import free_ports
from harness.process import end, listens
from harness.tools import tool

PROXIES = FOLDER / "proxies"


def replaced(text: str, changes: dict) -> str:
    """A text with these parts replaced. Each must be there once."""
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    return text


class Proxy:
    """A process that listens on a free loopback port, with a certificate of the edge's authority.

    `changes` replaces parts of the shipped file, which each must be there once.
    """

    file = ""

    def __init__(self, edge: Edge, changes: dict | None = None) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="webhook-guard-")
        self.folder = Path(self._scratch.name)
        self.edge = edge
        (self.port,) = free_ports(1)
        self.write(replaced((PROXIES / self.file).read_text(), {**self.places(), **(changes or {})}))
        self.process = None

    def __enter__(self) -> "Proxy":
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(self._listens, what=f"{self.file} to listen")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        end(self.process, 5)

    def places(self) -> dict:
        """The values for the places marked `CHANGE`."""
        raise NotImplementedError

    def edge_places(self) -> dict:
        """The address of the edge, and the authority that signed its certificate."""
        return {
            "127.0.0.1:8443": f"127.0.0.1:{self.edge.port}",
            "/etc/webhooks/envoy-ca.crt": str(self.edge.certificates / "ca.crt"),
        }

    def own_certificate(self) -> dict:
        """The certificate and the key that the proxy itself presents."""
        files = ("tls.crt", "tls.key")
        return {f"/etc/webhooks/{file}": str(self.edge.certificates / file) for file in files}

    def write(self, text: str) -> None:
        """Writes the configuration."""
        raise NotImplementedError

    def command(self) -> list:
        raise NotImplementedError

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _listens(self) -> bool:
        return listens(self.process, self.port, self.file, self.log)


class Nginx(Proxy):
    file = "nginx.conf"

    def places(self) -> dict:
        return {
            **self.edge_places(),
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            **self.own_certificate(),
            "envoy.internal": "localhost",
        }

    def write(self, text: str) -> None:
        (self.folder / "webhooks.conf").write_text(text)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        (self.folder / "nginx.conf").write_text("\n".join([
            f"daemon off; master_process off; pid {self.folder}/pid; error_log stderr info;",
            "events { worker_connections 256; }",
            "http {",
            "access_log off;",
            *(f"{kind}_temp_path {self.folder}/{kind};" for kind in kinds),
            f"include {self.folder}/webhooks.conf;",
            "}",
        ]))

    def command(self) -> list:
        return [str(tool("nginx")), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]

    @staticmethod
    @functools.lru_cache(maxsize=None)
    def version() -> tuple:
        shown = subprocess.run([str(tool("nginx")), "-v"], stderr=subprocess.PIPE, text=True, check=True).stderr
        return tuple(map(int, re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", shown).groups()))


class HaProxy(Proxy):
    file = "haproxy.cfg"

    def places(self) -> dict:
        return {
            **self.edge_places(),
            "bind :443 ssl crt /etc/webhooks/tls.pem": f"bind 127.0.0.1:{self.port} ssl crt {self.folder}/tls.pem",
            "verifyhost envoy.internal": "verifyhost localhost",
            "str(envoy.internal)": "str(localhost)",
        }

    def write(self, text: str) -> None:
        pem = b"".join((self.edge.certificates / name).read_bytes() for name in ("tls.crt", "tls.key"))
        (self.folder / "tls.pem").write_bytes(pem)
        (self.folder / "haproxy.cfg").write_text(text)

    def command(self) -> list:
        # In the foreground, as one process.
        return [str(tool("haproxy")), "-db", "-f", str(self.folder / "haproxy.cfg")]


class HaProxyTcp(HaProxy):
    file = "haproxy-tcp.cfg"

    def places(self) -> dict:
        return {
            **self.edge_places(),
            "bind :443": f"bind 127.0.0.1:{self.port}",
            "check-sni envoy.internal": "check-sni localhost",
        }


class Caddy(Proxy):
    file = "Caddyfile"
    # The name in the file, or any.
    name = ""

    def places(self) -> dict:
        return {
            **self.edge_places(),
            "hooks.example.com {": f"https://{self.name}:{self.port} {{\n\tbind 127.0.0.1",
            **self.own_certificate(),
            "envoy.internal": "localhost",
        }

    def write(self, text: str) -> None:
        # Without the ports of the admin interface and of redirects to HTTPS, which are fixed.
        options = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
        (self.folder / "Caddyfile").write_text(options + text)

    def command(self) -> list:
        # Caddy writes its state below HOME.
        file = self.folder / "Caddyfile"
        return ["env", f"HOME={self.folder}", str(tool("caddy")), "run", "--adapter", "caddyfile", "--config", str(file)]
