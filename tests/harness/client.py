"""The HTTP/1.1 client: sends exactly the bytes that a test wants on the wire."""

from __future__ import annotations

import socket
import time

from harness.http1 import Closed, Message, Reader

TIMEOUT = 60


class Client:
    """One connection to Envoy."""

    def __init__(self, port: int, timeout: float = TIMEOUT, **how) -> None:
        self.socket = connect(port, timeout, **how)
        self._reader = Reader(self.socket)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, *pieces: bytes, pause: float = 0) -> None:
        """Sends the pieces, each on its own, with a pause between them."""
        for number, piece in enumerate(pieces):
            if number and pause:
                time.sleep(pause)
            self.socket.sendall(piece)

    def response(self) -> Message:
        """The next response; those of status 100 are passed over."""
        while True:
            head = self._reader.head()
            if head is None:
                raise Closed("no response")
            if head.status != 100:
                return self._reader.body(head, until_close=head.status not in (204, 304))

    def ask(self, *pieces: bytes, pause: float = 0) -> Message:
        self.send(*pieces, pause=pause)
        return self.response()


def connect(port: int, timeout: float, *, tls=None, source="127.0.0.1", first=b"", host="") -> socket.socket:
    """A connection to Envoy from one of the loopback addresses, or to another `host` from any address.

    `first` is sent before anything else; with `tls`, an SSLContext, what follows is encrypted.
    """
    where = {"source_address": (source, 0)} if not host else {}
    host = host or ("::1" if ":" in source else "127.0.0.1")
    connection = socket.create_connection((host, port), timeout=timeout, **where)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(first)
        return tls.wrap_socket(connection, server_hostname="localhost") if tls else connection
    except BaseException:
        connection.close()
        raise


def ask(port: int, *pieces: bytes, pause: float = 0, **how) -> Message:
    """Sends one request over a connection of its own, made as `connect` says."""
    with Client(port, **how) as client:
        return client.ask(*pieces, pause=pause)


def post(port: int, path: str, headers=(), body: bytes = b"", method: str = "POST", **how) -> Message:
    """Sends an ordinary request with a content-length."""
    return ask(port, request(path, headers, body, method), **how)


def request(path: str, headers=(), body: bytes | None = b"", method: str = "POST") -> bytes:
    """A request with a content-length; with None for a body there is none of either."""
    length = [] if body is None else [("content-length", str(len(body)))]
    return head(path, [*headers, *length], method) + (body or b"")


def chunked(path: str, headers=(), chunks=(), trailers=(), method: str = "POST") -> list:
    """The pieces of a chunked request: head, each chunk, end."""
    start = head(path, [*headers, ("transfer-encoding", "chunked")], method)
    return [start, *(chunk(each) for each in chunks), b"0\r\n" + lines(trailers) + b"\r\n"]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def head(path: str, headers=(), method: str = "POST", host: str = "hooks.test") -> bytes:
    """Start line and headers; names and values may be text or bytes."""
    start = b"%s %s HTTP/1.1\r\n" % (as_bytes(method), as_bytes(path))
    given = {as_bytes(name).lower() for name, _ in headers}
    default = [] if b"host" in given else [("host", host)]
    return start + lines([*default, *headers]) + b"\r\n"


def lines(headers) -> bytes:
    return b"".join(as_bytes(name) + b": " + as_bytes(value) + b"\r\n" for name, value in headers)


def as_bytes(text) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
