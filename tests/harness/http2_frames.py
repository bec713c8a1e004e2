"""HTTP/2 frame by frame: sends what no library would."""

from __future__ import annotations

import contextlib

import hpack
from hyperframe import frame as frames

from harness.client import TIMEOUT, as_bytes, connect

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", size: int | None = None) -> bytes:
    """A frame; `size` is what it says its payload has, if that is a lie."""
    length = len(payload) if size is None else size
    return length.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def block(path="/webhook", headers=(), *, method="POST", pseudo=None) -> bytes:
    """A block of headers without the dynamic table. `pseudo` replaces the usual pseudo-headers."""
    usual = [(":method", method), (":scheme", "http"), (":authority", "hooks.test"), (":path", path)]
    return coded([*(usual if pseudo is None else pseudo), *headers])


def coded(headers) -> bytes:
    """Headers as literals without compression."""
    return b"".join(b"\0" + text(name) + text(value) for name, value in headers)


def text(value) -> bytes:
    data = as_bytes(value)
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, size = len(data) - 127, b"\x7f"
    while rest >= 128:
        size += bytes([rest % 128 | 128])
        rest //= 128
    return size + bytes([rest]) + data


def begin(stream: int, fields: bytes, end: bool = False, most: int = 16_384) -> bytes:
    """HEADERS, and as many CONTINUATIONs as the block needs."""
    pieces = [fields[at : at + most] for at in range(0, len(fields), most)] or [b""]
    sent = b""
    for number, piece in enumerate(pieces):
        flags = END_HEADERS if number == len(pieces) - 1 else 0
        if number == 0:
            sent += frame(HEADERS, flags | (END_STREAM if end else 0), stream, piece)
        else:
            sent += frame(CONTINUATION, flags, stream, piece)
    return sent


def data(stream: int, body: bytes, end: bool = True) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream, body)


class Wire:
    """One HTTP/2 connection, on which a test writes bytes."""

    def __init__(self, port: int, timeout: float = TIMEOUT, preface: bytes = PREFACE, **how) -> None:
        self.socket = connect(port, timeout, **how)
        self._decoder = hpack.Decoder()
        self._pending = b""
        self._agreed = False
        # By stream: the status of the answer, if any, and the error of a reset, if any.
        self.statuses: dict = {}
        self.resets: dict = {}
        # The error with which Envoy ended the connection.
        self.goaway: int | None = None
        self.closed = False
        self.ended: set = set()
        self.send(preface + frame(SETTINGS))

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        """Sends what Envoy still takes."""
        try:
            for piece in pieces:
                self.socket.sendall(piece)
        except OSError:
            self.closed = True

    def agree(self) -> None:
        """Waits for Envoy's settings, which are in force once they are acknowledged."""
        while not self._agreed:
            self._receive()

    def answer(self, stream: int):
        """The stream's status when it has ended, or None if that was without an answer."""
        while not (self.closed or self.ended & {stream} or stream in self.resets):
            self._receive()
        return self.statuses.get(stream)

    def settle(self, patience: float) -> None:
        """Takes in what comes until nothing has come for so many seconds."""
        self.socket.settimeout(patience)
        with contextlib.suppress(TimeoutError):
            while not self.closed:
                self._receive()
        self.socket.settimeout(TIMEOUT)

    def _receive(self) -> None:
        try:
            received = self.socket.recv(65536)
        except TimeoutError:
            raise
        except OSError:
            received = b""
        self.closed = not received
        self._pending += received
        while len(self._pending) >= 9:
            header, length = frames.Frame.parse_frame_header(memoryview(self._pending[:9]))
            if len(self._pending) < 9 + length:
                return
            header.parse_body(memoryview(self._pending[9 : 9 + length]))
            self._pending = self._pending[9 + length :]
            self._take(header)

    def _take(self, got) -> None:
        if isinstance(got, frames.SettingsFrame) and "ACK" not in got.flags:
            self.send(frame(SETTINGS, 1))
            self._agreed = True
        elif isinstance(got, frames.HeadersFrame):
            fields = dict(self._decoder.decode(got.data, raw=True))
            if b":status" in fields:
                self.statuses[got.stream_id] = int(fields[b":status"])
        elif isinstance(got, frames.RstStreamFrame):
            self.resets[got.stream_id] = got.error_code
        elif isinstance(got, frames.GoAwayFrame):
            self.goaway = got.error_code
        if "END_STREAM" in got.flags:
            self.ended.add(got.stream_id)
