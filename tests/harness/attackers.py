"""Attackers in processes of their own: many HTTP/2 connections, each with requests that do not end.

They write prebuilt frames on raw sockets, so that a test can hold more than any sender's library would.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import select
import ssl
import struct
import time

from harness.client import connect
from harness.http2_frames import (
    DATA,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    begin,
    block,
    data,
    frame,
    text,
)

FORGED = [("x-webhook-signature", "0" * 64)]
# The name and value that HPACK sends once, and the one byte that repeats them from then on.
FILLER, REPEATED = ("x-filler", "a" * 1_900), b"\xbe"
ACK = 1
SETTING_STREAMS = 3
# The bytes that a connection writes in one turn.
TURN = 65_536


@dataclasses.dataclass(frozen=True)
class Attack:
    """An attack: each connection opens as many requests as Envoy allows, each with an unfinished body."""

    addresses: int
    connections: int
    # Bytes of headers that HPACK repeats, and of the body that come at once.
    headers: int = 0
    body: int = 0
    # Seconds between further bytes of each body; 0 for silence.
    drip: float = 0
    # How many requests an address begins at most: what a rate limit admits.
    most: int = 1_000_000

    def source(self, number: int) -> str:
        return f"127.0.1.{number % self.addresses + 1}"

    def requests(self) -> int:
        """How many requests one connection begins at most."""
        return self.most * self.addresses // self.connections


class Attacker:
    """One connection of an attack."""

    def __init__(self, port: int, tls, attack: Attack, number: int) -> None:
        self.attack = attack
        self.socket = connect(port, 5, tls=tls, source=attack.source(number))
        self.socket.setblocking(False)
        self.begun = 0
        self.live: dict = {}  # By stream, how much of its body is still to come.
        self._next, self._most, self._window, self._last_drip = 1, 0, 65_535, time.monotonic()
        self._out, self._in = bytearray(PREFACE + frame(SETTINGS)), b""

    def turn(self) -> None:
        """Takes what came, and writes what may be written; raises OSError once the connection is closed."""
        self._receive()
        while len(self.live) < self._most and self.begun < self.attack.requests():
            self._begin()
        self._bodies()
        if self._out:
            with contextlib.suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                del self._out[: self.socket.send(self._out[:TURN])]

    def is_under_way(self) -> bool:
        """Whether it has begun what it can, and written that."""
        return self.begun > 0 and not self._out

    def wants_to_write(self) -> bool:
        return bool(self._out) or any(self.live.values()) and self._window > 0

    def _begin(self) -> None:
        repeats = self.attack.headers // (len(FILLER[1]) + len(FILLER[0]) + 32)
        fields = block(headers=FORGED)
        if repeats and self._next == 1:
            fields += b"\x40" + text(FILLER[0]) + text(FILLER[1]) + REPEATED * (repeats - 1)
        elif repeats:
            fields += REPEATED * repeats
        self._out += begin(self._next, fields)
        self.live[self._next] = self.attack.body
        self._next += 2
        self.begun += 1

    def _bodies(self) -> None:
        for stream, left in self.live.items():
            if len(self._out) > TURN:
                return
            size = min(left, 16_384, self._window)
            if size:
                self._data(stream, size)
                self.live[stream] -= size
        if self.attack.drip and time.monotonic() - self._last_drip > self.attack.drip:
            self._last_drip = time.monotonic()
            for stream in self.live:
                if self._window:
                    self._data(stream, 1)

    def _data(self, stream: int, size: int) -> None:
        self._out += data(stream, b"x" * size, end=False)
        self._window -= size

    def _receive(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            while received := self.socket.recv(TURN):
                self._in += received
            raise ConnectionError("closed")
        while len(self._in) >= 9 and len(self._in) >= 9 + (size := int.from_bytes(self._in[:3], "big")):
            kind, flags, stream = self._in[3], self._in[4], int.from_bytes(self._in[5:9], "big")
            self._take(kind, flags, stream, self._in[9 : 9 + size])
            self._in = self._in[9 + size :]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            settings = dict(struct.iter_unpack(">HI", payload))
            self._most = settings.get(SETTING_STREAMS, 100)
            self._out += frame(SETTINGS, ACK)
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind in (HEADERS, RST_STREAM) or kind == DATA and flags & ACK:
            self.live.pop(stream, None)


def run(port: int, tls, attack: Attack, begun, ready) -> None:
    """Keeps the attack up until the process is ended."""
    attackers, number = [], 0
    while True:
        turned = time.monotonic()
        while len(attackers) < attack.connections and time.monotonic() - turned < 0.5:
            # Envoy may refuse connections. The test decides whether it may.
            with contextlib.suppress(OSError):
                attackers.append(Attacker(port, tls, attack, number))
            number += 1
        for attacker in list(attackers):
            try:
                attacker.turn()
            except OSError:
                attackers.remove(attacker)
        begun.value = sum(attacker.begun for attacker in attackers)
        if len(attackers) == attack.connections and all(each.is_under_way() for each in attackers):
            ready.set()
        sockets = [attacker.socket for attacker in attackers]
        writers = {attacker.socket for attacker in attackers if attacker.wants_to_write()}
        poll(sockets, writers, 0.05)


def poll(readers: list, writers: set, seconds: float) -> None:
    """Waits until one of the sockets is ready: `select.select` takes no more than 1,024."""
    waiting = select.poll()
    for each in readers:
        waiting.register(each, select.POLLIN | (select.POLLOUT if each in writers else 0))
    waiting.poll(seconds * 1000)


@contextlib.contextmanager
def attacking(port: int, attack: Attack, tls=None):
    """Runs an attack beside the block; yields the number of requests it has begun, and whether it is at its height."""
    context = multiprocessing.get_context("fork")
    begun, ready = context.Value("q", 0), context.Event()
    process = context.Process(target=run, args=(port, tls, attack, begun, ready), daemon=True)
    process.start()
    try:
        yield begun, ready
    finally:
        process.kill()
        process.join()
