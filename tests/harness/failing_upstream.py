"""An upstream that fails: slow, with errors, or by breaking off."""

from __future__ import annotations

import contextlib
import socket
import struct
import time

from harness.upstream import Upstream

HEALTHY = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
LARGE = 16_000_000
BEHAVIOURS = {
    "healthy": HEALTHY,
    "failing": b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops",
    # Half an answer, after which the connection breaks off.
    "half": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe",
    "half in chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe",
    "resetting": b"",
    "closing": b"",
    # A good answer. Then the connection ends without notice.
    "closing after its answer": HEALTHY,
    "garbled": b"This is no HTTP.\r\n\r\n",
    # More than the buffers of Envoy and of two sockets hold.
    "large": b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % LARGE + b"x" * LARGE,
}


class UnresponsivePort:
    """A port where connections are neither accepted nor refused, until the end of its `with`."""

    def __enter__(self) -> "UnresponsivePort":
        self._server = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = self._server.getsockname()[1]
        # The first connection fills the queue, so that later ones are never accepted.
        self._waiting = [socket.socket() for _ in range(4)]
        for each in self._waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", self.port))
        return self

    def __exit__(self, *_) -> None:
        for each in (*self._waiting, self._server):
            each.close()


class FailingUpstream(Upstream):
    """Answers every request by its `behaviour`. With `slow`, it answers after `delay` seconds."""

    def __init__(self, behaviour: str = "healthy", **how) -> None:
        self.behaviour = behaviour
        super().__init__(**how)

    def _answer(self, peer: socket.socket) -> None:
        behaviour = self.behaviour
        if behaviour == "slow":
            time.sleep(self.delay)
        peer.sendall(BEHAVIOURS.get(behaviour, HEALTHY))
        if behaviour in ("half", "half in chunks", "resetting"):
            # Without waiting for what was sent: a reset instead of an end.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if behaviour in ("half", "half in chunks", "resetting", "closing", "closing after its answer"):
            with contextlib.suppress(OSError):
                peer.close()
