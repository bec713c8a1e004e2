"""Senders that deliver without pause and retry as the answers ask: the load during a change."""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import threading
import time

from harness.client import Client, request
from harness.http1 import Closed
from harness.polling import until
from harness.sign import default

# Senders wait for minutes; ours only so long that the machine is not kept busy by them alone.
PAUSE = 0.01


class Senders:
    """Some senders, each over a connection of its own, until the end of its `with`."""

    def __init__(self, port: int, secret: str, path: str = "/webhook", count: int = 8) -> None:
        self.port = port
        self.secret = secret
        self.path = path
        # Which secret each of them signed its last answered request by.
        self._used = [None] * count
        self.answers: collections.Counter = collections.Counter()
        self.failures: list = []
        # Every delivery that was begun, and those of them that were answered 200.
        self.begun: set = set()
        self.arrived: set = set()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number,), daemon=True) for number in range(count)
        ]

    def __enter__(self) -> "Senders":
        for each in self._threads:
            each.start()
        self.progress()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        until(lambda: not any(each.is_alive() for each in self._threads), what="the senders to end")

    def use(self, secret: str) -> None:
        """Has all of them sign by another secret, and waits until the last one does."""
        self.secret = secret
        until(lambda: set(self._used) == {secret} or self.failures, what="the senders")

    def progress(self, answers: int = 50) -> None:
        """Waits until so many more requests were answered."""
        goal = sum(self.answers.values()) + answers
        until(lambda: sum(self.answers.values()) >= goal or self.failures, what="the senders")

    def _send(self, number: int) -> None:
        try:
            with contextlib.ExitStack() as ends:
                connection = ends.enter_context(Client(self.port))
                for count in itertools.count():
                    if self._over.is_set():
                        return
                    connection = self._deliver(ends, connection, number, f"{number}-{count}")
        except (OSError, Closed, AssertionError) as failure:
            self.failures.append(f"{type(failure).__name__}: {failure}")

    def _deliver(self, ends, connection, number: int, identity: str):
        """Sends one delivery until it is answered anything but 503, as senders do."""
        body = json.dumps({"id": identity}).encode()
        self.begun.add(identity)
        while True:
            secret = self.secret
            answer = connection.ask(request(self.path, default(secret, body), body))
            self.answers[answer.status] += 1
            self._used[number] = secret
            if answer.get("connection") == "close":
                connection.close()
                connection = ends.enter_context(Client(self.port))
            if answer.status != 503 or self._over.is_set():
                break
            assert answer.get("retry-after") is not None, "retry-after is missing"
            time.sleep(PAUSE)
        if answer.status == 200:
            self.arrived.add(identity)
        return connection


def identities(requests) -> set:
    """The deliveries among the requests that an upstream has."""
    return {json.loads(each.body)["id"] for each in requests}
