"""The HTTP/1.1 upstream: keeps every byte that each connection was sent, and answers 200."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass, field

from harness.http1 import Closed, Reader
from harness.polling import until
from harness.server import Server

# Long enough for Envoy to have sent what it was going to send.
GRACE = 0.1


@dataclass
class Connection:
    """One connection: what came, each piece with its time."""

    received: list = field(default_factory=list)

    def keep(self, data: bytes) -> None:
        self.received.append((time.monotonic(), data))

    @property
    def bytes(self) -> bytes:
        return b"".join(data for _, data in self.received)


class Upstream(Server):
    """Takes requests and answers each.

    `early` answers as soon as the headers are there, without waiting for the body; `on_request` is
    called with each whole request.
    """

    def __init__(self, early: bool = False, delay: float = 0, on_request=None, **server) -> None:
        self.connections: list = []
        self.requests: list = []
        self.early = early
        self.delay = delay
        self.on_request = on_request or self.requests.append
        super().__init__(**server)

    def size(self) -> int:
        """How many bytes have come over all connections."""
        return sum(len(data) for each in list(self.connections) for _, data in list(each.received))

    @contextlib.contextmanager
    def nothing(self):
        """Fails if a single byte comes while the block runs or shortly after."""
        before = self.size()
        yield
        time.sleep(GRACE)
        came = self.size() - before
        assert came == 0, f"{came} bytes reached the upstream"

    def next(self, before: int):
        """The request after the first `before` ones, when it has come whole."""
        until(lambda: len(self.requests) > before, what="a request at the upstream")
        return self.requests[before]

    def _serve(self, peer: socket.socket) -> None:
        connection = Connection()
        self.connections.append(connection)
        reader = Reader(peer, connection.keep)
        with contextlib.suppress(OSError, Closed), peer:
            while True:
                request = reader.head()
                if request is None:
                    return
                if self.early:
                    self._answer(peer)
                reader.body(request)
                self.on_request(request)
                if not self.early:
                    self._answer(peer)

    def _answer(self, peer: socket.socket) -> None:
        time.sleep(self.delay)
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
