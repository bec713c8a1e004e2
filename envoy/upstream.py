#!/usr/bin/env python3
"""A small upstream for local tests. It prints each request and answers 200."""

from __future__ import annotations

import argparse
import contextlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GUARD = "x-webhook-guard-"


class Upstream(ThreadingHTTPServer):
    """A server on the loopback interface. `say` gets one line for each request."""

    daemon_threads = True

    def __init__(self, port: int, say=print) -> None:
        self.say = say
        super().__init__(("127.0.0.1", port), Handler)


class Handler(BaseHTTPRequestHandler):
    """Reads a request to its end and answers it."""

    protocol_version = "HTTP/1.1"
    # Sends head and body together. Otherwise the second would wait for the acknowledgement of the first.
    wbufsize = -1

    def answer(self) -> None:
        size = self.skip_body()
        seen = [f"{name.lower()}: {value}" for name, value in self.headers.items() if is_ours(name)]
        self.server.say(", ".join([f"{self.command} {self.path}", *seen, f"{size} bytes"]))
        text = b"The upstream got it.\n"
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_DELETE = do_GET = do_HEAD = do_OPTIONS = do_PATCH = do_POST = do_PUT = answer

    def skip_body(self) -> int:
        """Reads the body, chunked or not, and returns its size."""
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return self.skip_chunks()
        return len(self.rfile.read(int(self.headers.get("content-length", 0))))

    def skip_chunks(self) -> int:
        total = 0
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            total += len(self.rfile.read(size))
            if size == 0:
                break
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return total

    def log_message(self, *_) -> None:
        """Logs nothing, because `answer` prints each request."""


def is_ours(name: str) -> bool:
    return name.lower().startswith(GUARD)


def main() -> None:
    parser = argparse.ArgumentParser(description="Says what reached it, and answers 200.")
    parser.add_argument("--port", type=int, default=8080)
    port = parser.parse_args().port
    with Upstream(port) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"listening on 127.0.0.1:{port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
