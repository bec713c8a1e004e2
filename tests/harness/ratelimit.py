"""A rate limit service in small: it speaks what Envoy asks of one, and counts without a window.

The reference service exists only as a container image. The protocol is protobuf in gRPC over HTTP/2:
envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit.
"""

from __future__ import annotations

import threading
from collections import Counter

import h2.events

from harness.http2_upstream import Http2Upstream

OK, OVER_LIMIT = 1, 2
UNAVAILABLE = 14


class RateLimitService(Http2Upstream):
    """Allows `limit` requests for each descriptor; `behaviour` is `healthy`, `silent` or `failing`."""

    def __init__(self, limit: int, **server) -> None:
        self.limit = limit
        self.behaviour = "healthy"
        self.asked: list = []
        self._counts: Counter = Counter()
        self._bodies: dict = {}
        self._lock = threading.Lock()
        super().__init__(**server)

    def _handle(self, http2, event) -> None:
        if isinstance(event, h2.events.DataReceived):
            self._bodies[id(http2), event.stream_id] = event.data
            http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if not isinstance(event, h2.events.StreamEnded):
            return
        message = self._bodies.pop((id(http2), event.stream_id))[5:]
        if self.behaviour == "silent":
            return
        headers = [(":status", "200"), ("content-type", "application/grpc")]
        if self.behaviour == "failing":
            http2.send_headers(event.stream_id, [*headers, ("grpc-status", str(UNAVAILABLE))], end_stream=True)
            return
        answer = self._judge(message)
        http2.send_headers(event.stream_id, headers)
        http2.send_data(event.stream_id, b"\0" + len(answer).to_bytes(4, "big") + answer)
        http2.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)

    def _judge(self, message: bytes) -> bytes:
        fields = list(decode(message))
        (domain,) = [value.decode() for number, value in fields if number == 1]
        (entries,) = [value for number, value in fields if number == 2]
        texts = [dict(decode(entry)) for number, entry in decode(entries) if number == 1]
        descriptor = tuple((each[1].decode(), each[2].decode()) for each in texts)
        with self._lock:
            self.asked.append((domain, descriptor))
            self._counts[descriptor] += 1
            code = OK if self._counts[descriptor] <= self.limit else OVER_LIMIT
        return bytes([1 << 3, code])


def decode(message: bytes):
    """The fields of a protobuf message: number, and integer or bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = varint()
        size = varint()
        if tag & 7 == 0:
            yield tag >> 3, size
        else:
            yield tag >> 3, message[at : at + size]
            at += size
