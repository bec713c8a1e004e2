"""A container registry over TLS, with an image of the module."""

from __future__ import annotations

import http.client
import http.server
import ssl
import subprocess
import threading

from harness.polling import until
from harness.ports import free_ports
from harness.process import end
from harness.release import push_module
from harness.tools import tool


class Registry:
    """The registry of `crane`, which speaks HTTP, behind a proxy that speaks HTTPS on port 443."""

    def __init__(self, tls: ssl.SSLContext) -> None:
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

    def local(self, digest: str) -> str:
        """The name of an image for clients that do not trust the certificate."""
        return f"127.0.0.1:{self._port}/webhook-guard@sha256:{digest}"

    def push(self, module: bytes, version: str = "0.1.0") -> str:
        """Pushes the image of a release with this module, and returns the digest of its manifest."""
        return push_module(module, f"127.0.0.1:{self._port}/webhook-guard", version)

    def _answers(self) -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
            connection.request("GET", "/v2/")
            return connection.getresponse().status == 200
        except OSError:
            return False
