"""The HTTP/2 client: headers, data and trailers, each sent when and as a test wants it."""

from __future__ import annotations

import select
import time

import h2.config
import h2.connection
import h2.events
import h2.settings

from harness.client import TIMEOUT, as_bytes, connect

# Of frames: their first bytes up to the payload, the flag that ends a block of headers, and a type.
FRAME_HEADER = 9
END_HEADERS = 0x4
GOAWAY = 0x7


class Http2Client:
    """One HTTP/2 connection to Envoy, without negotiation and without checks of what is sent."""

    def __init__(self, port: int, timeout: float = TIMEOUT, window: int | None = None, **how) -> None:
        """`window` is how many bytes of each answer's body Envoy may send at first."""
        self.socket = connect(port, timeout, **how)
        self._scheme = "https" if how.get("tls") else "http"
        config = h2.config.H2Configuration(
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._http2 = h2.connection.H2Connection(config)
        if window is not None:
            values = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            self._http2.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self._http2.initiate_connection()
        self._events: list = []
        self._frames = b""
        # The last stream that Envoy still takes, once it has asked us to go away.
        self.last_stream: int | None = None
        self._flush()

    def __enter__(self) -> "Http2Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def headers(self, path, headers=(), *, method="POST", host="hooks.test", end=False, pseudo=()) -> int:
        """Begins a request; returns its stream. `pseudo` are further fields that begin with `:`."""
        stream = self._headers(path, headers, method, host, end, pseudo)
        self._flush()
        return stream

    def half_headers(self, path, headers=()) -> int:
        """Begins a request whose headers do not end; returns its stream."""
        self.max_streams()  # Acknowledges Envoy's settings first, so that no frame gets in between.
        stream = self._headers(path, headers, "POST", "hooks.test", False, ())
        frame = bytearray(self._http2.data_to_send())
        frame[4] &= ~END_HEADERS
        self.socket.sendall(frame)
        return stream

    def _headers(self, path, headers, method, host, end, pseudo) -> int:
        stream = self._http2.get_next_available_stream_id()
        first = [(":method", method), (":scheme", self._scheme), (":authority", host)]
        first += [] if path is None else [(":path", path)]
        block = [(as_bytes(name), as_bytes(value)) for name, value in [*first, *pseudo, *headers]]
        self._http2.send_headers(stream, block, end_stream=end)
        return stream

    def data(self, stream: int, data: bytes, end: bool = False) -> None:
        """Sends all of it, waiting for Envoy's window where that is needed."""
        while True:
            size = min(self._http2.local_flow_control_window(stream), self._http2.max_outbound_frame_size)
            piece, data = data[:size], data[size:]
            self._http2.send_data(stream, piece, end_stream=end and not data)
            self._flush()
            while data and self._http2.local_flow_control_window(stream) == 0:
                if not self._ended(stream):
                    self._receive()
                if self._ended(stream):
                    return
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

    def ask(self, path, headers=(), body: bytes = b"", method: str = "POST", host: str = "hooks.test"):
        """Sends an ordinary request; returns status and body."""
        stream = self.headers(path, headers, method=method, host=host, end=not body)
        if body:
            self.data(stream, body, end=True)
        return self.answer(stream)

    def ends(self, stream: int, within: float) -> bool:
        """Whether the stream ends in this many seconds."""
        end = time.monotonic() + within
        while not self._ended(stream):
            left = max(0, end - time.monotonic())
            if not select.select([self.socket], [], [], left)[0]:
                return False
            self._receive()
        return True

    def read_to_end(self) -> None:
        """Takes in what still comes, until Envoy closes the connection."""
        while self._received():
            pass

    def events(self) -> list:
        """The events that Envoy has sent so far."""
        return list(self._events)

    def _ended(self, stream: int) -> bool:
        if self.last_stream is not None and stream > self.last_stream:
            return True
        over = (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated)
        return any(
            isinstance(event, over) and getattr(event, "stream_id", stream) == stream
            for event in self._events
        )

    def _receive(self) -> None:
        assert self._received(), "Envoy closed the connection"

    def _received(self) -> bool:
        """Takes in some more; returns whether there was any."""
        data = self.socket.recv(65536)
        if not data:
            return False
        events = self._http2.receive_data(self._without_farewell(data))
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                self._http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self._events += events
        self._flush()
        return True

    def _without_farewell(self, data: bytes) -> bytes:
        """The frames that are there whole, but for a GOAWAY without an error, at which h2 would stop."""
        self._frames += data
        others = b""
        while len(self._frames) >= FRAME_HEADER:
            size = FRAME_HEADER + int.from_bytes(self._frames[:3], "big")
            if len(self._frames) < size:
                break
            frame, self._frames = self._frames[:size], self._frames[size:]
            last, error = frame[FRAME_HEADER:][:4], frame[FRAME_HEADER + 4 :][:4]
            if frame[3] == GOAWAY and not any(error):
                self.last_stream = int.from_bytes(last, "big")
            else:
                others += frame
        return others

    def _flush(self) -> None:
        data = self._http2.data_to_send()
        if data:
            self.socket.sendall(data)
