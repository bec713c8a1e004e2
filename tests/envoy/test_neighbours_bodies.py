"""Bodies next to filters that hold them, forward them in pieces, or wait. The upstream gets what was verified, or nothing.

Two filters precede the guard, and two follow its gate. Each place has one of ten kinds, or none: 14,641 orders. The tests
use 121 of these, an orthogonal array, in which any two kinds meet in any two places. Each order has three deliveries, and
each kind in each place meets every size, framing and protocol of the upstream. `test_any_two_meet` checks both.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import random
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import h2.events
import h2.exceptions
import pytest

from harness import client, neighbours
from harness.envoy import ROOT, SECRET, Envoy, version
from harness.full_config import endpoint
from harness.http1 import Closed, Reader
from harness.http2_client import Http2Client
from harness.http2_upstream import Http2Upstream
from harness.server import Server
from harness.sign import default

MAX = 2 << 20
# Envoy's own buffers, a little larger.
LIMIT = MAX + 65_536
KINDS = ["none", *neighbours.KINDS]
SIZES = (1, 16_384, 65_537, 300_000, 1 << 20, MAX)
FRAMINGS = ("http1-length", "http1-chunked", "http2", "http2-length")
UPSTREAMS = ("http1", "http2")
# For each order. `make soak` sends all 48 combinations of size, framing and upstream.
DELIVERIES = int(os.environ.get("NEIGHBOURS_DELIVERIES", 3))
CONFIGURATION = {"endpoints": [endpoint(each, max_body_bytes=MAX) for each in UPSTREAMS]}
NOISE = random.Random(1).randbytes(2 * MAX)
# In an unsafe order, the answer may never come.
UNSAFE_TIMEOUT = "2s"


class Order(NamedTuple):
    """The kinds of filters before the guard, and behind it."""

    before: tuple
    behind: tuple

    @property
    def name(self) -> str:
        return " > ".join([*self.before, "GUARD", *self.behind])


class Delivery(NamedTuple):
    number: int
    order: Order
    size: int
    framing: str
    upstream: str

    @property
    def body(self) -> bytes:
        return NOISE[self.number : self.number + self.size]


class Result(NamedTuple):
    delivery: Delivery
    status: int | None
    arrived: tuple

    @property
    def text(self) -> str:
        _, order, size, framing, upstream = self.delivery
        return f"{order.name}: {size} bytes by {framing} to {upstream}: {self.status}, {self.arrived or 'nothing'}"

    @property
    def is_whole(self) -> bool:
        return self.status == 200 and self.arrived == ("whole",)

    @property
    def is_nothing(self) -> bool:
        return self.status != 200 and self.arrived == ()


def deliveries() -> list:
    ways = list(itertools.product(SIZES, FRAMINGS, UPSTREAMS))
    # With this seed, `test_any_two_meet` holds.
    random.Random(13).shuffle(ways)
    orders = [Order(*map(present, (kinds[:2], kinds[2:]))) for kinds in orthogonal_array()]
    sent = []
    # One delivery for each order, then the next for each: those of one order would share its bandwidth.
    for turn, (row, order) in itertools.product(range(DELIVERIES), enumerate(orders)):
        sent.append(Delivery(len(sent), order, *ways[(row * DELIVERIES + turn) % len(ways)]))
    return sent


def orthogonal_array() -> list:
    """The kinds in the four places of each order. The number of kinds is a prime, so that any two places have all pairs."""
    size = len(KINDS)
    pairs = itertools.product(range(size), repeat=2)
    return [[KINDS[each % size] for each in (one, two, one + two, one + 2 * two)] for one, two in pairs]


def present(kinds) -> tuple:
    return tuple(kind for kind in kinds if kind != "none")


class Arrivals:
    """The requests that an upstream has read to their end, by the number of their delivery."""

    def __init__(self, sent: list) -> None:
        self.sent = sent
        self.by_number: dict = defaultdict(list)
        # Bytes that the upstream could not read as a request.
        self.unreadable: list = []

    def keep(self, number, body: bytes) -> None:
        """Keeps what the body is, not the body: all of them would take gigabytes."""
        verified = self.sent[int(number)].body
        is_prefix = verified.startswith(body)
        self.by_number[int(number)].append("whole" if body == verified else "prefix" if is_prefix else "altered")


class Http1Arrivals(Server):
    def __init__(self, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        super().__init__()

    def _serve(self, peer) -> None:
        reader = Reader(peer)
        # Envoy closes the connection within a request that it cannot complete.
        with contextlib.suppress(OSError, Closed), peer:
            while (request := reader.head()) is not None:
                if not request.start.startswith(b"POST /http1 HTTP/1.1"):
                    self.arrivals.unreadable.append(request.start)
                    return
                reader.body(request)
                self.arrivals.keep(request.get("x-number"), request.body)
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


class Http2Arrivals(Http2Upstream):
    def __init__(self, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        super().__init__()

    def _serve(self, peer) -> None:
        # A body that is shorter than its content-length is an error of the protocol.
        with contextlib.suppress(h2.exceptions.InvalidBodyLengthError), peer:
            super()._serve(peer)

    def _handle(self, http2, event) -> None:
        streams = http2.__dict__.setdefault("arriving", {})
        if isinstance(event, h2.events.RequestReceived):
            streams[event.stream_id] = dict(event.headers)[b"x-number"], []
        elif isinstance(event, h2.events.DataReceived):
            streams[event.stream_id][1].append(event.data)
        elif isinstance(event, h2.events.StreamEnded):
            number, pieces = streams.pop(event.stream_id)
            self.arrivals.keep(number, b"".join(pieces))
        super()._handle(http2, event)
        self.events.clear()


def patch(orders, ports: dict, http2_port: int):
    """A listener for each order, named like it."""

    def change(document) -> None:
        for name, port in ports.items():
            document.add_cluster(name, port, http2=name not in ("authorizer", "lua"))
        # One request each, so that a truncated one ends no others.
        document.add_cluster("http2", http2_port, http2=True, max_requests_per_connection=1)
        raise_limits(document)
        routes = document.virtual_host["routes"]
        routes[0]["route"]["rate_limits"] = [{"actions": [{"generic_key": {"descriptor_value": "webhooks"}}]}]
        routes.insert(0, copy.deepcopy(routes[0]))
        routes[0]["match"], routes[0]["route"]["cluster"] = {"path": "/http2"}, "http2"
        configurations = neighbours.filters(document, LIMIT)
        listeners = [listener(document.listener, order, configurations) for order in orders]
        document.data["static_resources"]["listeners"] = listeners

    return change


def raise_limits(document) -> None:
    """Envoy 1.36 needs all three that envoy.yaml names."""
    document.listener["per_connection_buffer_limit_bytes"] = LIMIT
    document.manager["http2_protocol_options"]["initial_stream_window_size"] = LIMIT
    document.virtual_host["request_body_buffer_limit"] = LIMIT


def listener(shipped: dict, order: Order, configurations: dict) -> dict:
    changed = copy.deepcopy(shipped)
    changed["name"] = order.name
    manager = changed["filter_chains"][0]["filters"][-1]["typed_config"]
    neighbours.insert(manager["http_filters"], configurations, order.before, order.behind)
    if neighbours.is_unsafe(order.before) or neighbours.is_unsafe(order.behind):
        for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
            route["route"]["timeout"] = UNSAFE_TIMEOUT
    return changed


def status(port: int, delivery: Delivery) -> int | None:
    """The status of the answer to the delivery, or None if it got none."""
    try:
        return deliver(port, delivery)
    except (OSError, Closed, AssertionError):
        return None


def deliver(port: int, delivery: Delivery) -> int | None:
    path, body = f"/{delivery.upstream}", delivery.body
    headers = [(name.lower(), value) for name, value in default(SECRET, body)]
    headers.append(("x-number", str(delivery.number)))
    if delivery.framing == "http1-length":
        return client.post(port, path, headers, body).status
    if delivery.framing == "http1-chunked":
        third = delivery.size // 3 + 1
        chunks = [body[start : start + third] for start in range(0, delivery.size, third)]
        return client.ask(port, *client.chunked(path, headers, chunks)).status
    if delivery.framing == "http2-length":
        headers.append(("content-length", str(delivery.size)))
    with Http2Client(port) as connection:
        return connection.ask(path, headers, body)[0]


@pytest.fixture(scope="module")
def sent() -> list:
    return deliveries()


@pytest.fixture(scope="module")
def outcome(sent):
    """All deliveries and what became of each, Envoy's counters after them, and its log."""
    arrivals = Arrivals(sent)
    orders = dict.fromkeys(each.order for each in sent)
    with neighbours.services() as ports, Http1Arrivals(arrivals) as http1, Http2Arrivals(arrivals) as http2:
        with Envoy(http1.port, CONFIGURATION, patch=patch(orders, ports, http2.port)) as envoy:
            listeners = envoy.ports()
            with ThreadPoolExecutor(8) as pool:
                statuses = list(pool.map(lambda each: status(listeners[each.order.name], each), sent))
            counters, log = envoy.stats(), envoy.log()
    results = [Result(each, status, tuple(arrivals.by_number[each.number])) for each, status in zip(sent, statuses)]
    print(Counter((each.status, each.arrived) for each in results))
    return results, arrivals, counters, log


def test_any_two_meet(sent):
    """Two kinds in two places, and each kind with each size, framing and protocol of the upstream."""
    array = orthogonal_array()
    rows = [(*array[each.number % len(array)], each.size, each.framing, each.upstream) for each in sent]
    levels = [len(KINDS)] * 4 + [len(SIZES), len(FRAMINGS), len(UPSTREAMS)]
    for one, two in itertools.combinations(range(len(levels)), 2):
        assert len({(row[one], row[two]) for row in rows}) == levels[one] * levels[two], (one, two)


def test_in_safe_orders_every_delivery_arrives_whole(outcome):
    results, *_ = outcome
    safe = [each for each in results if not any(map(neighbours.is_unsafe, each.delivery.order))]
    assert len(safe) > len(results) / 2
    assert [each.text for each in safe if not each.is_whole] == []


def test_an_unsafe_order_before_the_guard_fails_closed(outcome):
    """Envoy loses bytes before the guard sees them, and the guard rejects the rest."""
    results, *_ = outcome
    unsafe = [each for each in results if neighbours.is_unsafe(each.delivery.order.before)]
    unsafe = [each for each in unsafe if not neighbours.is_unsafe(each.delivery.order.behind)]
    assert unsafe
    assert [each.text for each in unsafe if not (each.is_whole or each.is_nothing)] == []


def test_an_unsafe_order_behind_the_guard_loses_a_body_or_nothing(outcome):
    """Up to Envoy 1.37, `ext_proc` also removes the length that shows the truncation. The guard cannot change that."""
    results, *_ = outcome
    unsafe = [each for each in results if neighbours.is_unsafe(each.delivery.order.behind)]
    assert unsafe
    assert [each.text for each in unsafe if not (each.is_whole or each.is_nothing or is_known(each))] == []


def is_known(result: Result) -> bool:
    has_no_length = {"streamed", "duplex"} & set(result.delivery.order.behind)
    return bool(version() < (1, 38) and has_no_length and result.arrived == ("prefix",))


def test_nothing_else_reaches_the_upstream(outcome):
    _, arrivals, *_ = outcome
    assert arrivals.unreadable == []


def test_every_neighbour_took_part(outcome):
    """Otherwise these tests would pass without them."""
    _, _, counters, log = outcome
    for cluster in ("authorizer", "duplex", "lua", "ratelimit", "streamed"):
        assert counters[f"cluster.{cluster}.upstream_rq_total"] > 2 * len(KINDS), cluster
    assert counters["bandwidth.http_bandwidth_limit.request_enforced"] > 0
    assert "wasm log second second" in log


def test_the_guard_continues_no_request_later():
    """Envoy lost 16 KiB of a body if a wasm filter continued the request after the callback (envoyproxy/envoy#46841)."""
    for file in (ROOT / "src").rglob("*.rs"):
        code = file.read_text()
        assert "continue_stream" not in code and "resume_http_request" not in code, file
