"""The HTTP/2 upstream: keeps every event of every stream, and answers 200 at its end."""

from __future__ import annotations

import contextlib
import socket
import time

import h2.config
import h2.connection
import h2.events

from harness.server import Server
from harness.upstream import GRACE

# Events that Envoy may cause without a request.
HOUSEKEEPING = (
    h2.events.PingReceived,
    h2.events.RemoteSettingsChanged,
    h2.events.SettingsAcknowledged,
    h2.events.WindowUpdated,
)


class Http2Upstream(Server):
    """Speaks HTTP/2 without negotiation."""

    def __init__(self, **server) -> None:
        self.events: list = []
        super().__init__(**server)

    @contextlib.contextmanager
    def nothing(self):
        """Fails if any event of a stream comes while the block runs or shortly after."""
        before = len(self.events)
        yield
        time.sleep(GRACE)
        assert self.events[before:] == []

    def _serve(self, peer: socket.socket) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        http2 = h2.connection.H2Connection(config)
        http2.initiate_connection()
        with contextlib.suppress(OSError), peer:
            peer.sendall(http2.data_to_send())
            while True:
                data = peer.recv(65536)
                if not data:
                    return
                for event in http2.receive_data(data):
                    self._handle(http2, event)
                peer.sendall(http2.data_to_send())

    def _handle(self, http2, event) -> None:
        if isinstance(event, HOUSEKEEPING):
            return
        self.events.append(event)
        if isinstance(event, h2.events.DataReceived):
            http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if isinstance(event, h2.events.StreamEnded):
            http2.send_headers(event.stream_id, [(b":status", b"200")])
            http2.send_data(event.stream_id, b"hello", end_stream=True)
