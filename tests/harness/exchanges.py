"""Modules that change places under load: the last release's and this tree's, by ECDS or by LDS."""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import threading
from pathlib import Path

from harness import client, last_release, sign
from harness.client import Client
from harness.envoy import MODULE, SECRET, Envoy, encoded, write_discovered
from harness.full_config import endpoint
from harness.http2_client import Http2Client
from harness.polling import in_both_workers, until
from harness.senders import Senders
from harness.upstream import Upstream

PATH = "/webhook"
# The size of a body that the guard holds while the modules change places. The limit is 1 MiB.
LARGE = 900_000
# The requests that an HTTP/2 connection sends before a new one takes its place.
PER_CONNECTION = 200
FORGED = "of-a-forger"


def exchange(how: str, times: int, folder: Path) -> str:
    """Exchanges the modules so many times, and returns the figures. Fails if a delivery is lost, repeated or forged."""
    arrived: list = []
    with Upstream(on_request=lambda each: arrived.append(json.loads(each.body)["id"])) as upstream:
        modules = [last_release.module(folder), MODULE]
        envoy = Exchanging(how, upstream.port, modules)
        with envoy, Senders(envoy.port, SECRET, count=4) as senders, Others(envoy.port) as others:
            for number in range(1, times + 1):
                held = Held(envoy.port, number)
                envoy.exchange(number)
                held.finish()
                others.copy()
            senders.progress()
        assert senders.failures == others.failures == [], senders.failures + others.failures
        statuses = {name: set(each) for name, each in others.answers.items()}
        assert statuses == {"delivery": {200}, "forgery": {401}, "copy": {409}}, others.answers
        assert set(senders.answers) == {200}, senders.answers
        counts = collections.Counter(arrived)
        twice = [each for each, count in counts.items() if count > 1]
        assert not twice, f"these arrived twice: {twice}"
        lost = (senders.begun | others.begun | Held.identities(times)) ^ set(counts)
        assert not lost, f"these were lost or were never sent: {lost}"
    answered = {name: sum(each.values()) for name, each in others.answers.items()}
    return f"{how}, {times} exchanges: {sum(senders.answers.values())} deliveries over HTTP/1.1, over both: {answered}"


def configuration(number: int) -> dict:
    """The endpoint of the senders, and one that shows which update a worker has."""
    # A slow machine sends more than the default memory holds, and a full memory forgets its oldest deliveries.
    replay = {"window": "24h", "max_memory_bytes": 64 * 1024 * 1024}
    orders = endpoint("orders", path=PATH, identity="message", replay=replay)
    return {"endpoints": [orders, endpoint("update", path=f"/update/{number}")]}


class Exchanging(Envoy):
    """An Envoy whose guard, or whose whole listener, is in a watched file."""

    # The default strategy closes some connections only when the time is over, and with it the bodies that the guard holds.
    drain_seconds = 120
    arguments = ("--drain-strategy", "immediate")

    def __init__(self, how: str, upstream_port: int, modules: list) -> None:
        super().__init__(upstream_port, configuration(0))
        self._modules = modules
        self._use(0)
        for name in ("request_timeout", "stream_idle_timeout"):
            self.document.manager[name] = "300s"
        discover = {"ecds": self.document.discover_guard, "lds": self.document.discover_listener}[how]
        self._file = discover(self.folder / "watched")
        self._write = {
            "ecds": lambda: write_discovered(self._file, self.document.guard_config),
            "lds": lambda: self.document.write_listener(self._file),
        }[how]

    def _use(self, number: int) -> None:
        """Writes the configuration of this number, with one module or the other, into the document."""
        self.document.guard["configuration"] = encoded(configuration(number))
        self.document.guard["vm_config"]["code"]["local"]["filename"] = str(self._modules[number % 2])

    def exchange(self, number: int) -> None:
        """Lets the other module take over, and waits until both workers use it."""
        self._use(number)
        self._write()
        until(lambda: in_both_workers(lambda: self._has(number)), what=f"update {number}")

    def _has(self, number: int) -> bool:
        return client.post(self.port, f"/update/{number}", [], b"{}").status == 401


class Held:
    """Large bodies that begin before an exchange and end after it: two deliveries and two forgeries."""

    def __init__(self, port: int, number: int) -> None:
        self._http1 = [Client(port), Client(port)]
        self._http2 = Http2Client(port)
        bodies = [large(each) for each in names(number)]
        self._bodies = [*bodies, bodies[0] + b" ", bodies[1] + b" "]
        headers = [signed(SECRET, each) for each in bodies] * 2
        for connection, each, body in zip(self._http1, headers[::2], self._bodies[::2]):
            connection.send(client.request(PATH, each, body)[: -LARGE // 2])
        self._streams = [self._http2.headers(PATH, each) for each in headers[1::2]]
        for stream, body in zip(self._streams, self._bodies[1::2]):
            self._http2.data(stream, body[: -LARGE // 2])

    def finish(self) -> None:
        for connection, body, status in zip(self._http1, self._bodies[::2], (200, 401)):
            assert connection.ask(body[-LARGE // 2 :]).status == status
            connection.close()
        for stream, body, status in zip(self._streams, self._bodies[1::2], (200, 401)):
            self._http2.data(stream, body[-LARGE // 2 :], end=True)
            assert self._http2.answer(stream)[0] == status
        self._http2.close()

    @staticmethod
    def identities(times: int) -> set:
        return {each for number in range(1, times + 1) for each in names(number)}


def signed(secret: str, body: bytes) -> list:
    """The headers of a request, with their names as HTTP/2 has them."""
    return [(name.lower(), value) for name, value in sign.default(secret, body)]


def names(number: int) -> list:
    return [f"held-{number}-1", f"held-{number}-2"]


def large(identity: str) -> bytes:
    return json.dumps({"id": identity, "pad": "x" * LARGE}).encode()


class Others:
    """Deliveries over HTTP/2, and forgeries and copies over both, until the end of its `with`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers: dict = collections.defaultdict(collections.Counter)
        self.failures: list = []
        self.begun: set = set()
        self._delivered: list = []
        self._over = threading.Event()
        jobs = [self._deliver_http2, self._deliver_http2, self._forge_http1, self._forge_http2]
        self._threads = [
            threading.Thread(target=self._run, args=(job, number), daemon=True) for number, job in enumerate(jobs)
        ]

    def __enter__(self) -> "Others":
        for each in self._threads:
            each.start()
        until(lambda: self._delivered or self.failures, what="a delivery over HTTP/2")
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        until(lambda: not any(each.is_alive() for each in self._threads), what="the other senders to end")

    def copy(self) -> None:
        """Sends copies of the first and of the latest delivery."""
        for body in (self._delivered[0], self._delivered[-1]):
            headers = signed(SECRET, body)
            self.answers["copy"][client.post(self._port, PATH, headers, body).status] += 1
            with Http2Client(self._port) as connection:
                self.answers["copy"][connection.ask(PATH, headers, body)[0]] += 1

    def _run(self, job, number: int) -> None:
        try:
            with Http2(self._port) as http2:
                for count in itertools.count():
                    if self._over.is_set():
                        return
                    job(http2, f"other-{number}-{count}")
        except (OSError, client.Closed, AssertionError) as failure:
            self.failures.append(f"{type(failure).__name__}: {failure}")

    def _deliver_http2(self, http2, identity: str) -> None:
        body = json.dumps({"id": identity}).encode()
        self.begun.add(identity)
        self.answers["delivery"][http2.ask(signed(SECRET, body), body)] += 1
        self._delivered.append(body)

    def _forge_http1(self, _, identity: str) -> None:
        body = json.dumps({"id": f"{FORGED}-{identity}"}).encode()
        headers = signed(FORGED, body) if len(self.answers["forgery"]) % 2 else []
        self.answers["forgery"][client.post(self._port, PATH, headers, body).status] += 1

    def _forge_http2(self, http2, identity: str) -> None:
        body = json.dumps({"id": f"{FORGED}-{identity}"}).encode()
        self.answers["forgery"][http2.ask(signed(FORGED, body), body)] += 1


class Http2:
    """HTTP/2 connections, one after the other."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends = contextlib.ExitStack()
        self._renew()

    def __enter__(self) -> "Http2":
        return self

    def __exit__(self, *_) -> None:
        self._ends.close()

    def _renew(self) -> None:
        self._ends.close()
        self._connection = self._ends.enter_context(Http2Client(self._port))
        self._used = 0

    def ask(self, headers: list, body: bytes) -> int:
        """Sends a request until Envoy takes it. Envoy processes no stream above the last one that its GOAWAY names."""
        while True:
            self._used += 1
            stream = self._connection.headers(PATH, headers)
            self._connection.data(stream, body, end=True)
            status, _ = self._connection.answer(stream)
            last = self._connection.last_stream
            if last is not None or self._used == PER_CONNECTION:
                self._renew()
            if last is None or stream <= last:
                return status
