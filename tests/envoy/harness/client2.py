"""The HTTP/2 client: headers, data and trailers, each sent when and as a test wants it."""

from __future__ import annotations

import time

import h2.config
import h2.connection
import h2.events

from harness.client import TIMEOUT, as_bytes, connect


class Client2:
    """One HTTP/2 connection to Envoy, without negotiation and without checks of what is sent."""

    def __init__(self, port: int, **how) -> None:
        self.socket = connect(port, TIMEOUT, **how)
        self._scheme = "https" if how.get("tls") else "http"
        config = h2.config.H2Configuration(
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._http2 = h2.connection.H2Connection(config)
        self._http2.initiate_connection()
        self._events: list = []
        self._flush()

    def __enter__(self) -> "Client2":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def headers(self, path, headers=(), *, method="POST", end=False, pseudo=()) -> int:
        """Begins a request; returns its stream. `pseudo` are further fields that begin with `:`."""
        stream = self._http2.get_next_available_stream_id()
        first = [(":method", method), (":scheme", self._scheme), (":authority", "hooks.test")]
        first += [] if path is None else [(":path", path)]
        block = [(as_bytes(name), as_bytes(value)) for name, value in [*first, *pseudo, *headers]]
        self._http2.send_headers(stream, block, end_stream=end)
        self._flush()
        return stream

    def data(self, stream: int, data: bytes, end: bool = False) -> None:
        """Sends all of it, waiting for Envoy's window where that is needed."""
        while True:
            size = min(self._http2.local_flow_control_window(stream), self._http2.max_outbound_frame_size)
            piece, data = data[:size], data[size:]
            self._http2.send_data(stream, piece, end_stream=end and not data)
            self._flush()
            while data and self._http2.local_flow_control_window(stream) == 0:
                if self._ended(stream):
                    return
                self._receive()
            if not data:
                return

    def trailers(self, stream: int, trailers) -> None:
        block = [(as_bytes(name), as_bytes(value)) for name, value in trailers]
        self._http2.send_headers(stream, block, end_stream=True)
        self._flush()

    def max_streams(self) -> int:
        """How many streams Envoy takes at once."""
        while self._http2.remote_settings.max_concurrent_streams > 2**31:
            self._receive()
        return self._http2.remote_settings.max_concurrent_streams

    def reset(self, stream: int) -> None:
        self._http2.reset_stream(stream)
        self._flush()

    def answer(self, stream: int):
        """The stream's status and body, when it has ended; the status is None after a reset."""
        end = time.monotonic() + TIMEOUT
        while not self._ended(stream):
            assert time.monotonic() < end, f"no end of stream {stream}: {self._events}"
            self._receive()
        status, body = None, b""
        for event in self._events:
            if getattr(event, "stream_id", None) != stream:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                status = int(dict(event.headers)[b":status"])
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
        return status, body

    def ask(self, path, headers=(), body: bytes = b"", method: str = "POST"):
        """Sends an ordinary request; returns status and body."""
        stream = self.headers(path, headers, method=method, end=not body)
        if body:
            self.data(stream, body, end=True)
        return self.answer(stream)

    def _ended(self, stream: int) -> bool:
        over = (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated)
        return any(
            isinstance(event, over) and getattr(event, "stream_id", stream) == stream
            for event in self._events
        )

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        assert data, "Envoy closed the connection"
        events = self._http2.receive_data(data)
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                self._http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self._events += events
        self._flush()

    def _flush(self) -> None:
        data = self._http2.data_to_send()
        if data:
            self.socket.sendall(data)
