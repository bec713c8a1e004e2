"""The requests at the upstream: nothing of a rejected one, and exactly the signed bytes of an accepted one."""

from __future__ import annotations

import hashlib
import time

import pytest

from harness import client
from harness.concurrently import at_once
from harness.envoy import Envoy
from harness.full_config import endpoint, patch, signed
from harness.http2_client import Http2Client
from harness.http2_upstream import Http2Upstream
from harness.upstream import GRACE, Upstream
from harness.verdict import assert_answer, verdict

BODY = b'{"order": 42}'
FORGED = [
    ("x-webhook-guard-endpoint", "forged"),
    ("X-Webhook-Guard-Secret-Version", "forged"),
    ("x-webhook-guard-verdict", "forged"),
    ("x_webhook_guard_endpoint", "forged"),
    ("X-WEBHOOK_guard-Verdict", "forged"),
    ("x-webhook-guard-anything-else", "forged"),
    ("x-webhook-guard-endpoint", "forged twice"),
]
PARTNER = "the-secret-of-a-partner"
CONFIGURATION = {"endpoints": [endpoint("orders"), endpoint("watched", mode="monitor")]}


def slowly(path: str, headers) -> list:
    """A chunked request in pieces: headers, three chunks, end."""
    return client.chunked(path, headers, [BODY[:5], BODY[5:9], BODY[9:]])


@pytest.mark.parametrize("headers", [signed(BODY, "forged"), []], ids=["forged", "unsigned"])
def test_nothing_of_a_denied_request_over_a_warm_connection(headers, start, upstream_alone):
    upstream = upstream_alone
    envoy = start(upstream, CONFIGURATION)
    for _ in range(4):
        assert client.post(envoy.port, "/orders", signed(BODY), BODY).status == 200
    connections = len(upstream.connections)
    assert connections >= 1
    with upstream.nothing():
        for _ in range(4):
            assert client.ask(envoy.port, *slowly("/orders", headers), pause=0.05).status == 401
    assert client.post(envoy.port, "/orders", signed(BODY), BODY).status == 200
    assert len(upstream.requests) == 5


def test_nothing_before_the_verdict(start, upstream_alone):
    """The guard forwards the first byte of a request after the last one arrived."""
    envoy = start(upstream_alone, CONFIGURATION)
    client.post(envoy.port, "/orders", signed(BODY), BODY)
    *most, last = slowly("/orders", signed(BODY))
    with client.Client(envoy.port) as connection:
        with upstream_alone.nothing():
            connection.send(*most, pause=0.1)
        assert connection.ask(last).status == 200
    assert upstream_alone.requests[-1].body == BODY


def test_nothing_of_a_denied_request_over_http2(start):
    with Http2Upstream() as upstream:
        envoy = start(upstream, CONFIGURATION, patch=lambda document: document.http2_upstream())
        for _ in range(4):
            assert client.post(envoy.port, "/orders", signed(BODY), BODY).status == 200
        assert len(upstream.events) >= 8
        with upstream.nothing():
            for headers in (signed(BODY, "forged"), []):
                assert client.ask(envoy.port, *slowly("/orders", headers), pause=0.05).status == 401
        with upstream.nothing(), client.Client(envoy.port) as connection:
            connection.send(*slowly("/orders", signed(BODY))[:-1])


def test_an_upstream_that_answers_early_opens_nothing(start):
    """The upstream would answer after the headers, if they reached it before the verdict."""
    with Upstream(early=True) as upstream:
        envoy = start(upstream, CONFIGURATION)
        for _ in range(2):
            assert client.post(envoy.port, "/orders", signed(BODY), BODY).status == 200
        with upstream.nothing():
            response = client.ask(envoy.port, *slowly("/orders", signed(BODY, "forged")), pause=0.1)
        assert_answer(response, "signature_invalid")
        with upstream.nothing(), client.Client(envoy.port) as connection:
            connection.send(*slowly("/orders", signed(BODY))[:-1])
            time.sleep(GRACE)


def test_a_query_that_is_not_signed_never_goes_upstream(envoy, upstream):
    """Many applications read a parameter of the query before a field of the signed body."""
    with verdict(envoy, "orders", "denied", "query_not_signed") as seen, upstream.nothing():
        response = client.post(envoy.port, "/webhook?a=1&amount=s3cret", signed(BODY), BODY)
    assert_answer(response, "query_not_signed")
    assert seen["line"]["parameter"] == "amount"
    assert "`query`" in seen["line"]["hint"]
    assert "s3cret" not in str(seen)
    with verdict(envoy, "orders", "denied", "query_not_signed") as seen, upstream.nothing():
        client.post(envoy.port, "/webhook?s3cret", signed(BODY), BODY)
    assert "parameter" not in seen["line"]
    assert "s3cret" not in str(seen)
    with verdict(envoy, "watched", "monitored", "query_not_signed") as seen:
        assert client.post(envoy.port, "/watched?amount=1", signed(BODY), BODY).status == 200
    assert seen["line"]["parameter"] == "amount"


def test_an_accepted_request_arrives_as_it_was_sent(envoy, upstream):
    before = len(upstream.requests)
    sent = [("X-Custom", b"caf\xe9 \xff"), ("x-twice", "1"), ("x-twice", "2"), *signed(BODY)]
    assert client.post(envoy.port, "/webhook?b=2&a=1", sent, BODY).status == 200
    request = upstream.next(before)
    assert (request.method, request.path, request.body) == ("POST", "/webhook?b=2&a=1", BODY)
    assert request.all("x-custom") == ["caf\xe9 \xff"]
    assert ",".join(request.all("x-twice")).replace(" ", "") == "1,2"
    assert request.get("x-webhook-signature") == signed(BODY)[0][1]
    assert own(request) == accepted(BODY)


@pytest.mark.parametrize("http", [1, 2])
def test_the_guards_own_headers_cannot_be_forged(http, envoy, upstream):
    before = len(upstream.requests)
    headers = [*FORGED, ("x-webhook-guardian", "stays"), *signed(BODY)]
    assert send(http, envoy, "/webhook", headers) == 200
    request = upstream.next(before)
    assert own(request) == accepted(BODY)
    assert request.get("x-webhook-guardian") == "stays"


def test_copies_of_one_message_arrive_with_one_digest_and_other_messages_with_another(envoy, upstream):
    digests = []
    for body, header in [(BODY, "x-webhook-guard-message"), (BODY, "x-other"), (b"{}", "x-other")]:
        before = len(upstream.requests)
        assert client.post(envoy.port, "/webhook", [(header, "0" * 32), *signed(body)], body).status == 200
        digests += upstream.next(before).all("x-webhook-guard-message")
    first, copy, other = digests
    assert first == copy != other and "0" * 32 not in digests


@pytest.mark.parametrize("http", [1, 2])
def test_the_guards_own_headers_cannot_be_forged_on_a_monitored_request(http, envoy, upstream):
    before = len(upstream.requests)
    with verdict(envoy, "watched", "monitored", "signature_invalid"):
        assert send(http, envoy, "/watched", [*FORGED, *signed(BODY, "forged")]) == 200
    request = upstream.next(before)
    assert (own(request), request.body) == ({"x-webhook-guard-verdict": "monitored"}, BODY)


@pytest.mark.parametrize("path, endpoint", [("/watched", "watched"), ("/webhook", "orders")])
def test_the_guards_own_headers_cannot_be_forged_in_trailers(path, endpoint, envoy, upstream):
    """Under `monitor` too, a request that the guard holds may have none."""
    pieces = client.chunked(path, signed(BODY), [BODY], FORGED)
    with verdict(envoy, endpoint, "denied", "trailers_refused"), upstream.nothing():
        assert client.ask(envoy.port, *pieces).status == 400


@pytest.mark.parametrize("http", [1, 2])
def test_a_body_without_a_length_gets_one(http, envoy, upstream):
    """The length shows the upstream whether a filter behind the guard cut the body."""
    before = len(upstream.requests)
    if http == 1:
        client.ask(envoy.port, *client.chunked("/webhook", signed(BODY), [BODY[:3], BODY[3:]]))
    else:
        with Http2Client(envoy.port) as http2:
            stream = http2.headers("/webhook", [(name.lower(), value) for name, value in signed(BODY)])
            http2.data(stream, BODY, end=True)
            http2.answer(stream)
    request = upstream.next(before)
    assert request.all("content-length") == [str(len(BODY))]
    assert request.get("transfer-encoding") is None
    assert request.body == BODY


def test_trailers_of_a_released_monitored_request_cannot_forge_them(envoy, upstream):
    """The guard releases a request without a signature at its headers. Its trailers arrive much later."""
    before = len(upstream.requests)
    pieces = client.chunked("/watched", [], [BODY], [*FORGED, ("x-checksum", "stays")])
    assert client.ask(envoy.port, *pieces, pause=0.05).status == 200
    request = upstream.next(before)
    assert request.trailers == [(b"x-checksum", b"stays")]
    assert own(request) == {"x-webhook-guard-verdict": "monitored"}


class TestMonitor:
    """The guard forwards failing requests, reports them and marks them."""

    def test_a_good_request_is_accepted(self, envoy, upstream):
        before = len(upstream.requests)
        with verdict(envoy, "watched", "accepted", "accepted"):
            client.post(envoy.port, "/watched", signed(BODY), BODY)
        assert own(upstream.next(before))["x-webhook-guard-endpoint"] == "watched"

    def test_a_denial_at_the_headers_lets_the_body_stream(self, envoy, upstream):
        before = upstream.size()
        first, *rest = slowly("/watched", [])
        with verdict(envoy, "watched", "monitored", "signature_missing"):
            with client.Client(envoy.port) as connection:
                connection.send(first)
                time.sleep(GRACE)
                assert upstream.size() > before
                assert connection.ask(*rest, pause=0.02).status == 200
        assert upstream.requests[-1].body == BODY

    @pytest.mark.parametrize("chunked", [True, False])
    def test_a_body_that_is_too_large_streams_on(self, chunked, envoy, upstream):
        body = bytes(range(256)) * 1200
        before = len(upstream.requests)
        if chunked:
            cuts = [body[at : at + 9000] for at in range(0, len(body), 9000)]
            pieces = client.chunked("/watched", signed(body), cuts)
        else:
            pieces = [client.request("/watched", signed(body), body)]
        with verdict(envoy, "watched", "monitored", "body_too_large"):
            assert client.ask(envoy.port, *pieces).status == 200
        request = upstream.next(before)
        assert request.body == body
        assert own(request) == {"x-webhook-guard-verdict": "monitored"}

    def test_other_methods(self, envoy, upstream):
        before = len(upstream.requests)
        with verdict(envoy, "watched", "monitored", "method_not_allowed"):
            client.post(envoy.port, "/watched", signed(b""), b"", "PUT")
        assert upstream.next(before).method == "PUT"

    def test_an_upgrade_is_refused(self, envoy, upstream):
        headers = [("connection", "upgrade"), ("upgrade", "websocket")]
        with verdict(envoy, "watched", "denied", "upgrade_refused"), upstream.nothing():
            client.ask(envoy.port, client.head("/watched", headers, "GET"))


class TestPassed:
    """`unmatched` with a list of paths that pass."""

    CONFIGURATION = {
        "unmatched": {"pass": ["/"]},
        "endpoints": [
            endpoint("orders"),
            {**endpoint("hosted"), "match": {"prefix": "/hosted/", "host": "Hooks.test"}},
        ],
    }

    @pytest.fixture(scope="class")
    def passing(self, upstream):
        with Envoy(upstream.port, self.CONFIGURATION, patch=self.patch) as running:
            yield running

    @staticmethod
    def patch(document):
        patch(document)
        document.manager["http2_protocol_options"]["allow_connect"] = True

    @pytest.mark.parametrize("http", [1, 2])
    def test_it_goes_on_without_the_guards_headers(self, http, passing, upstream):
        before = len(upstream.requests)
        with verdict(passing, "-", "passed", "passed"):
            assert send(http, passing, "/other", FORGED) == 200
        request = upstream.next(before)
        assert (own(request), request.body) == ({}, BODY)

    def test_its_trailers_lose_the_guards_headers(self, passing, upstream):
        before = len(upstream.requests)
        pieces = client.chunked("/other", [], [BODY], [*FORGED, ("x-checksum", "stays")])
        assert client.ask(passing.port, *pieces, pause=0.05).status == 200
        assert upstream.next(before).trailers == [(b"x-checksum", b"stays")]

    @pytest.mark.parametrize(
        "path",
        [
            "/Orders",
            "/orders/",
            "/orders;jsessionid=1",
            "/%6frders",
            "/ORDERS;a/?b=c",
            "/HOSTED/a",
            "/%68osted/a",
            "/orders.json",
            "/orders/x",
            "/orders::$DATA",
            "/orders%E2%80%8B",
            "/or%C2%ADders",
            "/orders%EF%BC%9Bx",
            "/orders.php/x",
            "/index.php/orders",
            "/ordersx",
        ],
    )
    def test_a_path_near_an_endpoint_does_not_pass(self, path, passing, upstream):
        with verdict(passing, "-", "denied", "unmatched"), upstream.nothing():
            assert_answer(client.post(passing.port, path, [], BODY), "unmatched")

    @pytest.mark.parametrize("path", ["/other", "/orders"])
    def test_an_upgrade_does_not_pass(self, path, passing, upstream):
        name = "orders" if path == "/orders" else "-"
        headers = [("connection", "upgrade"), ("upgrade", "websocket")]
        with verdict(passing, name, "denied", "upgrade_refused"), upstream.nothing():
            answer = client.ask(passing.port, client.head(path, headers, "GET"))
            assert_answer(answer, "upgrade_refused")

    def test_an_extended_connect_does_not_pass(self, passing, upstream):
        pseudo = [(":protocol", "websocket")]
        with verdict(passing, "-", "denied", "upgrade_refused"), upstream.nothing():
            with Http2Client(passing.port) as http2:
                stream = http2.headers("/other", [], method="CONNECT", pseudo=pseudo)
                assert http2.answer(stream)[0] == 400

    def test_an_endpoints_path_at_another_host_does_not_pass(self, passing, upstream):
        with upstream.nothing():
            response = client.post(passing.port, "/hosted/a", [("host", "other.test")], BODY)
        assert_answer(response, "unmatched")

    def test_a_host_matches_in_any_case_and_with_a_port(self, passing):
        for host in ("HOOKS.TEST", "hooks.test:8443"):
            headers = [("host", host), *signed(BODY)]
            with verdict(passing, "hosted", "accepted", "accepted"):
                assert client.post(passing.port, "/hosted/a", headers, BODY).status == 200

    def test_an_ambiguous_path_does_not_pass(self, passing, upstream):
        for path in ("//orders", "/a/../orders", "/other%2fa", "/other/../orders"):
            with upstream.nothing():
                assert_answer(client.post(passing.port, path, signed(BODY), BODY), "path_ambiguous")


@pytest.mark.parametrize("path", ["/orders.json", "/orders/x", "/orders.php/x", "/index.php/orders", "/orders%E2%80%8B"])
def test_another_senders_prefix_does_not_take_a_path_near_an_endpoint(path, sharing, upstream):
    """Paths that an application could confuse with the path of an endpoint that has its own secret."""
    with verdict(sharing, "-", "denied", "unmatched"), upstream.nothing():
        assert_answer(client.post(sharing.port, path, signed(BODY, PARTNER), BODY), "unmatched")


def test_a_prefix_takes_its_own_paths(sharing):
    for path in ("/orders-of-partner", "/partner/x.json"):
        with verdict(sharing, "partner", "accepted", "accepted"):
            assert client.post(sharing.port, path, signed(BODY, PARTNER), BODY).status == 200


@pytest.fixture(scope="module")
def sharing(start_module, upstream):
    secrets = [{"version": "v1", "value": PARTNER}]
    partner = {"name": "partner", "match": {"prefix": "/"}, "secrets": secrets}
    return start_module(upstream, {"environment": "test", "endpoints": [endpoint("orders"), partner]})


def test_a_hundred_senders_at_once(envoy, upstream):
    """Good and forged requests are mixed, and some are slow. Each gets its own verdict."""
    before = len(upstream.requests)

    def send_five(number: int) -> list:
        statuses = []
        for turn in range(5):
            body = b"sender %d, turn %d " % (number, turn) * 50
            good = (number + turn) % 2 == 0
            headers = signed(body) if good else signed(body, "forged")
            cuts = [body[at : at + 400] for at in range(0, len(body), 400)]
            pieces = client.chunked("/webhook", headers, cuts)
            statuses.append(client.ask(envoy.port, *pieces, pause=0.001 * (number % 3)).status)
        return statuses

    statuses = at_once(send_five, range(100))
    assert statuses == [[200, 401, 200, 401, 200], [401, 200, 401, 200, 401]] * 50
    arrived = upstream.requests[before:]
    assert len(arrived) == 250
    assert all(request.get("x-webhook-signature") == signed(request.body)[0][1] for request in arrived)


def send(http: int, envoy, path: str, headers) -> int:
    """Sends over HTTP/1.1 or HTTP/2; returns the status."""
    if http == 1:
        return client.post(envoy.port, path, headers, BODY).status
    with Http2Client(envoy.port) as connection:
        lower = [(name.lower(), value) for name, value in headers]
        return connection.ask(path, lower, BODY)[0]


def accepted(body: bytes) -> dict:
    """The guard's headers of a request that it accepted at the endpoint `orders`."""
    code = bytes.fromhex(signed(body)[0][1])
    return {
        "x-webhook-guard-endpoint": "orders",
        "x-webhook-guard-message": hashlib.sha256(b"orders\0" + code).hexdigest()[:32],
        "x-webhook-guard-secret-version": "v1",
    }


def own(request) -> dict:
    """The guard's headers of a request, in any spelling, each with its value."""
    return {name: request.get(name) for name in request.names("x-webhook-guard-")}
