"""HTTP/1.1 by hand: the parts that the client and the upstream share.

Nothing here is clever, so that a test sees the bytes that were really on the wire.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field


class Closed(Exception):
    """The other side closed the connection where a message should have gone on."""


@dataclass
class Message:
    """A request or a response: its first line, headers, body and trailers."""

    start: bytes
    headers: list
    body: bytes = b""
    trailers: list = field(default_factory=list)

    @property
    def method(self) -> str:
        return self.start.split(b" ")[0].decode("latin-1")

    @property
    def path(self) -> str:
        return self.start.split(b" ")[1].decode("latin-1")

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    def all(self, name: str) -> list:
        """Every value of this header, as text."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]

    def get(self, name: str):
        """The header's only value, or None."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def names(self, prefix: str) -> list:
        """The names of the headers and trailers that begin like this, in lower case, `_` as `-`."""
        names = [key.lower().decode("latin-1") for key, _ in self.headers + self.trailers]
        return sorted(name for name in names if name.replace("_", "-").startswith(prefix))


class Reader:
    """Reads messages off a socket, whatever pieces they come in."""

    def __init__(self, connection: socket.socket, on_bytes=None) -> None:
        self._connection = connection
        self._pending = b""
        self._on_bytes = on_bytes

    def head(self):
        """A start line with its headers, or None where the other side has closed before one."""
        lines = self._until(b"\r\n\r\n", at_start=True)
        if lines is None:
            return None
        start, *rest = lines[:-4].split(b"\r\n")
        return Message(start, [fields(line) for line in rest])

    def body(self, message: Message, until_close: bool = False) -> Message:
        """Reads what follows the head."""
        if any(b"chunked" in value.lower() for key, value in message.headers if is_transfer(key)):
            self._chunks(message)
        elif message.get("content-length") is not None:
            message.body = self._exactly(int(message.get("content-length")))
        elif until_close:
            message.body = self._rest()
        return message

    def _chunks(self, message: Message) -> None:
        while True:
            size = int(self._line().split(b";")[0], 16)
            if size == 0:
                break
            message.body += self._exactly(size)
            self._line()
        while True:
            line = self._line()
            if not line:
                return
            message.trailers.append(fields(line))

    def _line(self) -> bytes:
        return self._until(b"\r\n")[:-2]

    def _until(self, end: bytes, at_start: bool = False):
        while end not in self._pending:
            if not self._more():
                if at_start and not self._pending:
                    return None
                raise Closed(f"after {self._pending[-200:]!r}")
        place = self._pending.index(end) + len(end)
        found, self._pending = self._pending[:place], self._pending[place:]
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._pending) < size:
            if not self._more():
                raise Closed(f"{size - len(self._pending)} bytes before the end of the body")
        found, self._pending = self._pending[:size], self._pending[size:]
        return found

    def _rest(self) -> bytes:
        while self._more():
            pass
        found, self._pending = self._pending, b""
        return found

    def _more(self) -> bool:
        received = self._connection.recv(65536)
        if received and self._on_bytes:
            self._on_bytes(received)
        self._pending += received
        return bool(received)


def fields(line: bytes) -> tuple:
    name, _, value = line.partition(b":")
    return name, value.strip()


def is_transfer(name: bytes) -> bool:
    return name.lower() == b"transfer-encoding"
