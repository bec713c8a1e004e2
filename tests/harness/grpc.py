"""gRPC services that Envoy asks. The messages are protobuf by hand, as much of it as these services need."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import select
import socket
import time
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events

from harness.server import Server

FRAME_HEADER = 5
VARINT, LENGTH_DELIMITED = 0, 2


@dataclass
class Call:
    """One gRPC call: what has arrived of its next message, and when its last answer is due."""

    received: bytes = b""
    last_due: float = 0

    def receive(self, data: bytes):
        """The messages that are complete now."""
        self.received += data
        while len(self.received) >= FRAME_HEADER:
            end = FRAME_HEADER + int.from_bytes(self.received[1:FRAME_HEADER], "big")
            if len(self.received) < end:
                return
            message, self.received = self.received[FRAME_HEADER:end], self.received[end:]
            yield message


class GrpcService(Server):
    """Answers each message of a call by the messages that `replies` returns, each `delay` seconds after the last."""

    def __init__(self, delay: float = 0, **server) -> None:
        self.delay = delay
        super().__init__(**server)

    def replies(self, message: bytes) -> list:
        raise NotImplementedError

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            _Connection(peer, self).serve()


class _Connection:
    """An HTTP/2 connection of Envoy, with its calls and the answers that are not due yet."""

    def __init__(self, peer: socket.socket, service: GrpcService) -> None:
        self.peer = peer
        self.service = service
        self.calls: dict = {}
        # A heap of answers: when each is due, its number, its stream, and its bytes. None ends the call.
        self.answers: list = []
        self.numbers = itertools.count()
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))

    def serve(self) -> None:
        self.http2.initiate_connection()
        while True:
            self._send_due()
            self.peer.sendall(self.http2.data_to_send())
            wait = max(0, self.answers[0][0] - time.monotonic()) if self.answers else None
            if not select.select([self.peer], [], [], wait)[0]:
                continue
            data = self.peer.recv(65536)
            if not data:
                return
            for event in self.http2.receive_data(data):
                self._handle(event)

    def _handle(self, event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.calls[event.stream_id] = Call()
            self.http2.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
        elif isinstance(event, h2.events.DataReceived):
            self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            for message in self.calls[event.stream_id].receive(event.data):
                for each in self.service.replies(message):
                    self._answer(event.stream_id, b"\0" + len(each).to_bytes(4, "big") + each)
        elif isinstance(event, h2.events.StreamEnded):
            self._answer(event.stream_id, None)
        elif isinstance(event, h2.events.StreamReset):
            self.calls.pop(event.stream_id, None)

    def _answer(self, stream: int, data: bytes | None) -> None:
        call = self.calls[stream]
        call.last_due = max(call.last_due, time.monotonic()) + self.service.delay
        heapq.heappush(self.answers, (call.last_due, next(self.numbers), stream, data))

    def _send_due(self) -> None:
        while self.answers and self.answers[0][0] <= time.monotonic():
            due, number, stream, data = heapq.heappop(self.answers)
            if stream not in self.calls:
                continue
            if data is None:
                self.http2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
                del self.calls[stream]
                continue
            rest = self._send(stream, data)
            if rest:
                heapq.heappush(self.answers, (due, number, stream, rest))
                # Envoy opens its window first.
                if self.http2.local_flow_control_window(stream) == 0:
                    return

    def _send(self, stream: int, data: bytes) -> bytes:
        """Sends a frame; returns what is left."""
        size = min(self.http2.local_flow_control_window(stream), self.http2.max_outbound_frame_size)
        if size:
            self.http2.send_data(stream, data[:size])
        return data[size:]


class ExternalProcessor(GrpcService):
    """An ext_proc service that leaves everything as it is.

    With `duplex`, it sends the body back in pieces, as FULL_DUPLEX_STREAMED wants it.
    """

    REQUEST_HEADERS, REQUEST_BODY, REQUEST_TRAILERS = 2, 4, 6
    # Of the answers. Other implementations use pieces of the same size.
    HEADERS, BODY, TRAILERS = 1, 3, 5
    PIECE = 62_000

    def __init__(self, duplex: bool = False, **service) -> None:
        self.duplex = duplex
        super().__init__(**service)

    def replies(self, message: bytes) -> list:
        """The ProcessingResponses to a ProcessingRequest."""
        fields = dict(decode(message))
        if self.REQUEST_BODY in fields:
            if not self.duplex:
                return [encode(self.BODY, b"")]
            return list(self._pieces(dict(decode(fields[self.REQUEST_BODY]))))
        if self.REQUEST_HEADERS in fields:
            return [encode(self.HEADERS, b"")]
        assert self.REQUEST_TRAILERS in fields, fields
        return [encode(self.TRAILERS, b"")]

    def _pieces(self, body: dict):
        data, ends = body.get(1, b""), body.get(2, 0)
        for start in range(0, max(len(data), 1), self.PIECE):
            end = start + self.PIECE
            # StreamedBodyResponse, BodyMutation, CommonResponse, BodyResponse.
            streamed = encode(1, data[start:end]) + encode(2, ends if end >= len(data) else 0)
            yield encode(self.BODY, encode(1, encode(3, encode(3, streamed))))


class RateLimitService(GrpcService):
    """A rate limit service that allows every request."""

    def replies(self, message: bytes) -> list:
        """A RateLimitResponse whose overall code is OK."""
        return [encode(1, 1)]


def encode(number: int, value) -> bytes:
    """A field of a protobuf message: an integer or bytes."""
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(value)) + value


def varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def decode(message: bytes):
    """The fields of a protobuf message: number, and integer or bytes."""
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        value, at = read_varint(message, at)
        if tag & 7 == LENGTH_DELIMITED:
            value, at = message[at : at + value], at + value
        yield tag >> 3, value


def read_varint(message: bytes, at: int) -> tuple:
    value = shift = 0
    while True:
        value |= (message[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if message[at - 1] < 128:
            return value, at
