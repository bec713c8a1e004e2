"""Clients that send all the time while a test changes the installation on Envoy Gateway."""

from __future__ import annotations

import contextlib
import itertools
import threading


class Unsigned:
    """Sends unsigned requests all the time, from many addresses because of the shield."""

    def __init__(self, proxy) -> None:
        self._proxy = proxy
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.statuses: set = set()

    def __enter__(self) -> "Unsigned":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stopped.set()
        self._thread.join()

    def _send(self) -> None:
        for number in itertools.count():
            if self._stopped.wait(0.02):
                return
            with contextlib.suppress(ConnectionError):
                source = f"127.0.{1 + number // 200 % 200}.{1 + number % 200}"
                self.statuses.add(self._proxy.post(body=b"unsigned", source=source).status)


class Senders:
    """Eight senders of signed and unsigned requests, each from an address of its own, because of the shield."""

    def __init__(self, proxy) -> None:
        self._proxy = proxy
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(8)]
        self.signed: list = []
        self.unsigned: list = []

    def __enter__(self) -> "Senders":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_) -> None:
        self._stopped.set()
        for each in self._threads:
            each.join()

    def _send(self, number: int) -> None:
        for last in range(2, 250):
            for _ in range(20):
                if self._stopped.is_set():
                    return
                source = f"127.1.{number}.{last}"
                self.signed.append(self._proxy.deliver(source=source))
                self.unsigned.append(self._proxy.status(source=source))
