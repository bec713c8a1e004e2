"""Sends any bytes, and checks that Envoy keeps running and forwards nothing unsigned."""

from __future__ import annotations

import contextlib
import json

from harness import client
from harness.envoy import SECRET
from harness.http1 import Closed
from harness.sign import default
from harness.upstream import Upstream

GOOD = b'{"order": 42}'
# Marks requests that are hidden in others. The upstream must never see it in a path or a header.
HIDDEN = b"/hidden"
# How long a connection is quiet when no further answer is on its way.
QUIET = 0.1


def send_raw(port: int, *pieces: bytes, patience: float = 1) -> list:
    """Sends bytes over one connection and returns the statuses of all answers.

    `patience` is how long to wait for the first; those after it, and the end, come at once or never.
    """
    statuses = []
    with contextlib.suppress(OSError, Closed), client.Client(port) as connection:
        # Envoy may close as soon as it has seen enough.
        with contextlib.suppress(OSError):
            connection.send(*pieces)
        connection.socket.settimeout(patience)
        while True:
            statuses.append(connection.response().status)
            connection.socket.settimeout(QUIET)
    return statuses


class Watch:
    """One Envoy and its upstream, under attack."""

    def __init__(self, envoy, upstream: Upstream, path: str = "/webhook") -> None:
        self.envoy = envoy
        self.upstream = upstream
        self.path = path
        self._seen = 0

    def __enter__(self) -> "Watch":
        self._seen = len(self.upstream.requests)
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.assert_alive()

    def good(self) -> int:
        """The status of an ordinary delivery over a connection of its own."""
        return client.post(self.envoy.port, self.path, default(SECRET, GOOD), GOOD).status

    def assert_alive(self) -> None:
        """The same process still takes what is right, and has passed on nothing else."""
        assert self.envoy.process.poll() is None, "Envoy has ended"
        # More than one, so that each worker has its turn.
        assert [self.good() for _ in range(4)] == [200] * 4
        assert not any(self.envoy.stats("^wasm.webhook_guard.*reload").values()), "the module trapped"
        self.arrived()

    def arrived(self) -> list:
        """The requests that came since the block began. Each is signed and can be read in one way alone."""
        for each in self.upstream.requests[self._seen :]:
            assert_signed(each)
            assert_plain(each)
        return self.upstream.requests[self._seen :]


def assert_signed(request) -> None:
    """The signature is right, and the guard says so."""
    assert request.get("x-webhook-signature") == default(SECRET, request.body)[0][1], request
    assert request.get("x-webhook-guard-endpoint") is not None, request


def assert_plain(request) -> None:
    """No other server could cut the request elsewhere, and none of what was hidden is in its head."""
    assert len(request.all("content-length") + request.all("transfer-encoding")) <= 1, request
    assert request.all("transfer-encoding") in ([], ["chunked"]), request
    head = [request.start, *(name + b":" + value for name, value in request.headers)]
    assert not any(HIDDEN in line for line in head), request
    for line in head + [name + b":" + value for name, value in request.trailers]:
        assert not set(line) & set(b"\r\n\0") and not line.startswith((b" ", b"\t")), request


def resident(envoy) -> int:
    """How much memory the process has, in bytes: what was freed within it included."""
    with open(f"/proc/{envoy.process.pid}/status") as status:
        (line,) = (line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def allocated(envoy) -> int:
    """How much of it Envoy has in use, the modules' memories not counted."""
    return int(json.loads(envoy.get("/memory"))["allocated"])


def held(envoy) -> int:
    """How many requests have no answer yet."""
    name = "http.webhooks.downstream_rq_active"
    return envoy.stats(f"^{name}$")[name]
