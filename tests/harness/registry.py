"""A container registry over TLS, with an image of the module."""

from __future__ import annotations

import gzip
import http.client
import http.server
import io
import ssl
import subprocess
import tarfile
import threading
from pathlib import Path

from harness.polling import until
from harness.ports import free_ports
from harness.process import end
from harness.tools import tool


class Registry:
    """The registry of `crane`, which speaks HTTP, behind a proxy that speaks HTTPS on port 443."""

    def __init__(self, folder: Path, tls: ssl.SSLContext) -> None:
        self._folder = folder
        (self._port,) = free_ports(1)
        command = [tool("crane"), "registry", "serve", "--address", f"127.0.0.1:{self._port}"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = self._port

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", port)
                connection.request(self.command, self.path, headers={"accept": self.headers.get("accept", "*/*")})
                answer = connection.getresponse()
                body = answer.read()
                self.send_response(answer.status)
                for name in ("content-type", "docker-content-digest", "content-length"):
                    if answer.headers.get(name):
                        self.send_header(name, answer.headers[name])
                self.end_headers()
                self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 443), Handler)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        until(self._answers, 60, "an answer of the registry")

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        end(self._process, 5)

    def push(self, module: bytes, name: str = "webhook-guard:1") -> str:
        """Pushes an image with the module, and returns the digest of its manifest."""
        layer = self._folder / "layer.tar.gz"
        layer.write_bytes(archive(module))
        image = f"127.0.0.1:{self._port}/{name}"
        self._crane("append", "--oci-empty-base", "--new_layer", str(layer), "--new_tag", image)
        return self._crane("digest", image).removeprefix("sha256:")

    def _crane(self, *arguments: str) -> str:
        done = subprocess.run([tool("crane"), *arguments, "--insecure"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _answers(self) -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
            connection.request("GET", "/v2/")
            return connection.getresponse().status == 200
        except OSError:
            return False


def archive(module: bytes) -> bytes:
    """The layer of an image: a gzipped tar with the module alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("plugin.wasm")
        entry.size = len(module)
        tar.addfile(entry, io.BytesIO(module))
    return gzip.compress(buffer.getvalue())
