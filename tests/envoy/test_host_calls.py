"""The budget of host calls: how often Envoy calls the module for a request, and how often the module calls Envoy.

Calls cost more than the guard's own work on a small request. The budget is the file `host_calls.txt`. The guard measures
at most one request in 10 ms, which takes more calls. Here a test alone moves the wall clock, so that only a test that does so
has a measured request.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import time
from collections import Counter
from pathlib import Path

import pytest

from harness import sign, wasm_trace
from harness.client import Client, head, request
from harness.clock import Clock
from harness.envoy import MODULE, ROOT, Envoy
from harness.fixed_log_level import INFO, WARNING, at_log_level
from harness.full_config import WHSEC, endpoint, signed
from harness.http2_client import Http2Client
from harness.polling import until
from harness.upstream import Upstream

BUDGET = Path(__file__).with_name("host_calls.txt")
# The table as it would be, written when a test fails.
COPY = ROOT / "target" / "host_calls.txt"
MEASURED: dict = {}
PIECE, PIECES = 20 * 1024, 10
LOCAL = ["127.0.0.0/8"]
CONFIGURATION = {
    "environment": "development",
    "health_check": {"path": "/healthz"},
    "upstream_headers": ["endpoint", "delivery"],
    "endpoints": [
        endpoint("orders", allow=LOCAL),
        endpoint("ids", {"version": "v1", "value": WHSEC}, provider="standard-webhooks", replay={"status": 409}, allow=LOCAL),
        endpoint("elsewhere", allow=["192.0.2.0/24"]),
        endpoint("any", methods=["GET", "POST"], allow=LOCAL),
        endpoint("watched", mode="monitor", allow=LOCAL),
    ],
}
numbers = itertools.count()


def body() -> bytes:
    """A new body of 1 KiB."""
    return (b"%d " % next(numbers)).ljust(1024, b"x")


def posted(path: str, sign_body=signed):
    """A request over HTTP/1.1 with this path, which is sent at once."""

    def send(envoy: Envoy) -> int:
        content = body()
        with Client(envoy.port) as client:
            return client.ask(request(path, sign_body(content), content)).status

    return send


def delivered(envoy: Envoy, identity: str) -> int:
    content = body()
    headers = sign.standard_webhooks(WHSEC, content, identity=identity)
    with Client(envoy.port) as client:
        return client.ask(request("/ids", headers, content)).status


def forged(content: bytes) -> list:
    return signed(content, "forged")


def unsigned(_: bytes) -> list:
    return []


def without_body(path: str, headers=()):
    def send(envoy: Envoy) -> int:
        with Client(envoy.port) as client:
            return client.ask(request(path, headers, None, method="GET")).status

    return send


def in_pieces(envoy: Envoy) -> int:
    """Sends each piece of a large body when the guard has seen the one before, so that each has its callback."""
    pieces = [body().ljust(PIECE, b"x") for _ in range(PIECES)]
    content = b"".join(pieces)
    start = head("/orders", [*signed(content), ("content-length", str(len(content)))])
    since = envoy.log_size()
    with Client(envoy.port) as client:
        client.send(start)
        seen = "proxy_on_request_headers return"
        for number, piece in enumerate(pieces, 1):
            until(lambda: seen in envoy.log(since), what=seen)
            since = envoy.log_size()
            client.send(piece)
            seen = f", {number * PIECE}, 0)"
        return client.response().status


def over_http2(envoy: Envoy) -> int:
    content = body()
    with Http2Client(envoy.port) as client:
        headers = [(name.lower(), value) for name, value in signed(content)]
        status, _ = client.ask("/orders", headers, content)
        return status


# Each kind of request: its name in the budget, how it is sent, and the status of the answer.
KINDS = {
    "accepted": (posted("/orders"), 200),
    "accepted, HTTP/2": (over_http2, 200),
    "accepted, 200 KiB in ten pieces": (in_pieces, 200),
    "accepted, without a body": (without_body("/any", signed(b"")), 200),
    "accepted, with replay memory": (lambda envoy: delivered(envoy, f"msg_{next(numbers)}"), 200),
    "rejected as a replay": (lambda envoy: delivered(envoy, "msg_same"), 409),
    "rejected for a wrong signature": (posted("/orders", forged), 401),
    "rejected for a missing signature": (posted("/orders", unsigned), 401),
    "rejected for its address": (posted("/elsewhere"), 403),
    "rejected for its path": (posted("/nowhere"), 404),
    "monitored, wrong signature": (posted("/watched", forged), 200),
    "health check": (without_body("/healthz"), 200),
}
IS_MEASURED = "accepted, and measured"
AT_INFO = "accepted, log level info"
ALL = [*KINDS, IS_MEASURED, AT_INFO]


class OneWorker(Envoy):
    """One worker, so that the first request of a kind prepares it for the second."""

    workers = 1


@contextlib.contextmanager
def traced(folder: Path, level: int):
    """An Envoy that writes the trace. Its guard works at another log level, because at the level trace it writes more."""
    module = folder / "guard.wasm"
    module.write_bytes(at_log_level(MODULE.read_bytes(), level))

    def patch(document) -> None:
        document.guard["vm_config"]["code"]["local"]["filename"] = str(module)

    clock = Clock(folder)
    clock.stop_at(time.time())
    with Upstream() as upstream, OneWorker(upstream.port, CONFIGURATION, patch=patch, clock=clock) as envoy:
        wasm_trace.start(envoy)
        yield envoy


@pytest.fixture(scope="module")
def at_warning(tmp_path_factory):
    with traced(tmp_path_factory.mktemp("warning"), WARNING) as envoy:
        yield envoy


@pytest.fixture(scope="module")
def at_info(tmp_path_factory):
    with traced(tmp_path_factory.mktemp("info"), INFO) as envoy:
        yield envoy


@pytest.mark.parametrize("kind", KINDS)
def test_host_calls_are_within_their_budget(at_warning, kind):
    check(at_warning, kind, *KINDS[kind])


def test_host_calls_of_a_measured_request_are_within_their_budget(at_warning):
    send, status = KINDS["accepted"]
    seconds = itertools.count(1)

    def send_later(envoy: Envoy) -> int:
        envoy.clock.stop_at(time.time() + next(seconds))
        return send(envoy)

    check(at_warning, IS_MEASURED, send_later, status)


def test_host_calls_at_the_default_log_level_are_within_their_budget(at_info):
    check(at_info, AT_INFO, *KINDS["accepted"])


def test_the_budget_lists_no_other_requests():
    assert list(budget()) == ALL


def check(envoy: Envoy, kind: str, send, status: int) -> None:
    """Compares the calls for a request with its budget. A first request of the kind makes what later ones find."""
    assert send(envoy) in (200, status)
    wasm_trace.wait(envoy)
    since = envoy.log_size()
    assert send(envoy) == status
    planned, spent = budget().get(kind, ""), written(kind, wasm_trace.callbacks(envoy, since))
    MEASURED[kind] = spent
    if spent != planned:
        write_copy()
        differences = difflib.ndiff(planned.splitlines(), spent.splitlines())
        shown = "\n".join(line for line in differences if not line.startswith("?"))
        where = f"If this is intended, copy {COPY.relative_to(ROOT)} to {BUDGET.relative_to(ROOT)}."
        pytest.fail(f"The calls (+) differ from the budget (-). {where}\n\n{shown}", pytrace=False)


def written(kind: str, callbacks: list) -> str:
    """A block of the budget."""
    calls = sum((callback.calls for callback in callbacks), Counter())
    allocations = calls.pop(wasm_trace.ALLOCATE, 0)
    title = f"{kind}: {len(callbacks)} callbacks, {calls.total()} host calls, {allocations} allocations"
    lines = (f"{count} x {line}" if count > 1 else line for line, count in repeated(map(str, callbacks)))
    return "\n  ".join([title, *lines])


def repeated(lines):
    """Each line, and how often it follows itself."""
    return ((line, len(list(group))) for line, group in itertools.groupby(lines))


def budget() -> dict:
    """The blocks of the budget by the kind of request. Blank lines separate them."""
    _, *blocks = BUDGET.read_text().rstrip("\n").split("\n\n")
    return {block.partition(":")[0]: block for block in blocks}


def write_copy() -> None:
    """Writes the budget with the blocks that were measured so far."""
    comment, *_ = BUDGET.read_text().rstrip("\n").split("\n\n")
    blocks = {**budget(), **MEASURED}
    COPY.write_text("\n\n".join([comment, *(blocks[kind] for kind in ALL if kind in blocks)]) + "\n")
