"""A server on a free loopback port, with a thread for each connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading


class Server:
    """Hands each connection to `_serve`; `stop`, or the end of its `with`, ends it.

    `tls` is an SSLContext, of a server that speaks TLS; `port` one that was free a moment ago. Another `address` is
    for a network namespace of the test's own.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0, address: str = "127.0.0.1") -> None:
        self._open: list = []
        self._tls = tls
        self._server = socket.create_server((address, port), backlog=512)
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        # Closing alone does not wake a thread that waits in accept.
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            self._open.append(peer)
            threading.Thread(target=self._shake_hands, args=(peer,), daemon=True).start()

    def _shake_hands(self, peer: socket.socket) -> None:
        if self._tls is None:
            return self._serve(peer)
        # A client that does not like our certificate leaves.
        with contextlib.suppress(OSError), self._tls.wrap_socket(peer, server_side=True) as encrypted:
            self._serve(encrypted)

    def _serve(self, peer: socket.socket) -> None:
        raise NotImplementedError
