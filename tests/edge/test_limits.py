"""How often: the shield counts what an address sends, the limit what of it was verified."""

from __future__ import annotations

import itertools
import time
from collections import Counter

import pytest

from harness.client import request
from harness.envoy import SECRET
from harness.full_config import endpoint
from harness.polling import until
from harness.sign import default

BODY = b'{"order": 42}'
ORDERS = itertools.count(1000)
LIMIT = 100
SHIELD = 600
TWO = {"endpoints": [endpoint("orders", path="/webhook"), endpoint("other", path="/other")]}


def forwarded(*endpoints) -> dict:
    return {"endpoints": [{**each, "client_address": "forwarded"} for each in endpoints]}


class Sender:
    """Sends over one connection, as fast as it goes, so that hardly a token comes back meanwhile.

    The shield rejects a request before its body, and Envoy closes the connection.
    """

    def __init__(self, edge, **how) -> None:
        self.connect = lambda: edge.client(**how)
        self.connection = self.connect()

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_) -> None:
        self.connection.close()

    def send(self, path: str = "/webhook", headers=(), signed: bool = True):
        """One delivery's answer; each is another message."""
        body = b'{"order": %d}' % next(ORDERS)
        signature = default(SECRET if signed else "not the secret", body)
        answer = self.connection.ask(request(path, [*signature, *headers], body))
        if answer.all("connection") == ["close"]:
            self.connection.close()
            self.connection = self.connect()
        return answer

    def statuses(self, count: int, **what) -> list:
        return [self.send(**what).status for _ in range(count)]

    def until_refused(self, tokens: int, headers=list, **what) -> list:
        """The statuses up to the first 429. Tokens come back meanwhile, so a busy machine needs more requests."""
        statuses: list = []
        while 429 not in statuses:
            assert len(statuses) < 20 * tokens, "the limit refuses nothing"
            statuses.append(self.send(headers=headers(), **what).status)
        return statuses


def from_address(address: str) -> list:
    """The headers of a load balancer for a client."""
    return [("x-forwarded-for", address)]


def assert_limited(statuses: list, tokens: int) -> None:
    """As many as there were tokens went through, but for those that came back in the meantime."""
    passed = statuses.index(429)
    assert tokens <= passed <= tokens + 5, passed
    assert set(statuses) == {200, 429}


class TestLimit:
    """100 verified requests a minute from one address to one endpoint."""

    def test_a_request_above_the_limit_is_asked_to_retry(self, edge, upstream):
        with Sender(edge) as sender:
            assert_limited(sender.statuses(LIMIT + 10), LIMIT)
            answer = sender.send()
        passed = len(upstream.requests)
        assert answer.status == 429
        assert answer.all("retry-after") == ["10"]
        assert answer.all("x-ratelimit-limit") == ["100"]
        assert answer.all("x-ratelimit-remaining") == ["0"]
        assert edge.count("orders", "accepted", "accepted") == LIMIT + 11, "the guard accepted all"
        assert edge.rate_limited("limit") == LIMIT + 11 - passed
        assert edge.rate_limited("shield") == 0
        logged = until(lambda: [each for each in edge.access_lines() if each["status"] == 429])
        assert logged[0]["reason"] == "accepted"
        assert logged[0]["details"] == "local_rate_limited"

    def test_tokens_come_back_with_time(self, edge):
        with Sender(edge) as sender:
            sender.statuses(LIMIT + 10)
            time.sleep(1.3)
            assert sender.send().status == 200

    def test_another_address_is_not_affected(self, edge):
        with Sender(edge) as one, Sender(edge, source="127.0.0.2") as other:
            one.statuses(LIMIT + 10)
            assert other.send().status == 200
            assert one.send().status == 429

    def test_another_endpoint_is_not_affected(self, start, upstream):
        edge = start(upstream, TWO)
        with Sender(edge) as sender:
            sender.statuses(LIMIT + 10)
            assert sender.send("/other").status == 200

    def test_an_endpoint_has_a_ceiling_for_all_addresses(self, start, upstream):
        def lower(document):
            (limit,) = [each for each in document.filters if each["name"] == "limit"]
            *_, ceiling = limit["typed_config"]["descriptors"]
            assert ceiling["token_bucket"]["max_tokens"] == 6000
            ceiling["token_bucket"].update(max_tokens=20, tokens_per_fill=20)

        edge = start(upstream, TWO, patch=lower)
        statuses = []
        for last in range(2, 6):
            with Sender(edge, source=f"127.0.0.{last}") as sender:
                statuses += sender.statuses(10)
                assert sender.send("/other").status == 200
        assert_limited(statuses, 20)

    @pytest.mark.parametrize("name", ["x-webhook-guard-endpoint", "X-Webhook-Guard-Endpoint"])
    def test_a_sender_does_not_choose_its_bucket(self, name, edge, upstream):
        with Sender(edge) as sender:
            sender.statuses(LIMIT + 10)
            for number in range(5):
                assert sender.send(headers=[(name, f"other-{number}")]).status == 429
        for each in upstream.requests:
            assert each.all("x-webhook-guard-endpoint") == ["orders"]

    def test_unverified_monitored_requests_have_a_limit_of_their_own(self, start, upstream):
        """Each address has its own bucket, which other addresses cannot use up."""

        def lower(document):
            (limit,) = [each for each in document.filters if each["name"] == "limit"]
            unverified = limit["typed_config"]["descriptors"][0]
            assert unverified["entries"][0] == {"key": "unverified", "value": "yes"}
            assert unverified["token_bucket"]["max_tokens"] == 600
            unverified["token_bucket"].update(max_tokens=20, tokens_per_fill=20)

        monitored = {"endpoints": [endpoint("orders", path="/webhook", mode="monitor")]}
        edge = start(upstream, monitored, patch=lower)
        with Sender(edge) as sender, Sender(edge, source="127.0.0.2") as other:
            assert_limited(sender.statuses(30, signed=False), 20)
            assert sender.send().status == 200
            assert other.send(signed=False).status == 200


class TestShield:
    """600 requests a minute from one address, whatever they are."""

    def test_denied_requests_cost_their_sender(self, edge, upstream):
        with upstream.nothing(), Sender(edge) as sender:
            begun = time.monotonic()
            statuses = sender.until_refused(SHIELD, signed=False)
            # A token comes back every tenth of a second.
            returned = 10 * (time.monotonic() - begun)
        passed = statuses.index(429)
        assert SHIELD <= passed <= SHIELD + returned + 1
        assert set(statuses) == {401, 429}
        seen = edge.count("orders", "denied", "signature_invalid")
        assert seen == statuses.count(401), "of the others the guard saw nothing"
        assert edge.rate_limited("shield") == statuses.count(429)
        with Sender(edge) as sender:
            (answer,) = until(lambda: [each for each in [sender.send()] if each.status == 429], what="a refusal")
            assert answer.all("retry-after") == ["10"]
            assert answer.all("x-ratelimit-limit") == [], "who floods learns nothing"
        with Sender(edge, source="127.0.0.2") as other:
            assert other.send().status == 200

    def test_a_network_of_ipv6_is_one_client(self, start, upstream):
        edge = start(upstream, forwarded(endpoint("orders", path="/webhook")), variant_name="forwarded")
        numbers = itertools.count(1)
        with Sender(edge) as sender:
            sender.until_refused(SHIELD, signed=False, headers=lambda: from_address(f"2001:db8::{next(numbers):x}"))
            same = from_address("2001:db8::ffff:1")
            until(lambda: sender.send(headers=same).status == 429, what="a refusal")
            assert sender.send(headers=from_address("2001:db8:0:1::1")).status == 200

    def test_a_wide_network_of_ipv6_has_a_bound_too(self, start, upstream):
        """A /48 holds 65,536 networks of a client's size."""
        edge = start(upstream, forwarded(endpoint("orders", path="/webhook")), variant_name="forwarded")
        with Sender(edge) as sender:
            numbers = itertools.count()
            statuses = sender.until_refused(
                2400, signed=False, headers=lambda: from_address(f"2001:db8:0:{next(numbers):x}::1")
            )
            assert statuses.index(429) >= 2400
            assert sender.send(headers=from_address("2001:db8:1::1")).status == 200
            assert sender.send(headers=from_address("192.0.2.7")).status == 200


def test_a_flood_of_forgeries_costs_a_good_sender_nothing(start, upstream):
    """The forgeries arrive from 1,000 addresses, each with its own bucket."""
    edge = start(upstream, forwarded(endpoint("orders", path="/webhook")), variant_name="forwarded")
    forgers = [f"10.1.{number // 250}.{number % 250 + 1}" for number in range(1000)]
    with Sender(edge) as flood, Sender(edge) as good:
        for number, address in enumerate(forgers):
            for _ in range(2):
                assert flood.send(signed=False, headers=from_address(address)).status == 401
            if number % 20 == 0:
                assert good.send(headers=from_address("192.0.2.7")).status == 200
        # Each of them is a sender of its own, too.
        assert {flood.send(headers=from_address(each)).status for each in forgers} == {200}
    assert edge.rate_limited("shield") == edge.rate_limited("limit") == 0


def test_more_addresses_than_are_remembered(start, upstream):
    """A displaced address starts with a full bucket. No address is rejected because of that."""

    def forget(document):
        for each in document.filters:
            if each["name"] in ("shield", "limit"):
                assert each["typed_config"]["max_dynamic_descriptors"] == 20000
                each["typed_config"]["max_dynamic_descriptors"] = 10

    edge = start(upstream, forwarded(endpoint("orders", path="/webhook")), variant_name="forwarded", patch=forget)
    with Sender(edge) as sender:
        for round_ in range(2):
            for number in range(50):
                assert sender.send(headers=from_address(f"10.0.0.{number + 1}")).status == 200


class TestCopies:
    """60 copies of one message a minute, from all addresses together."""

    def test_copies_of_one_delivery_leave_the_endpoints_limit_to_others(self, start, upstream):
        """The sender signs neither a timestamp nor an id, so a captured delivery can be sent again."""

        def lower(document):
            (limit,) = [each for each in document.filters if each["name"] == "limit"]
            *_, ceiling = limit["typed_config"]["descriptors"]
            assert ceiling["token_bucket"]["max_tokens"] == 6000
            ceiling["token_bucket"].update(max_tokens=200, tokens_per_fill=200)

        captured = default(SECRET, BODY)
        edge = start(upstream, forwarded(endpoint("orders", path="/webhook")), variant_name="forwarded", patch=lower)
        statuses: Counter = Counter()
        with edge.client() as attacker, edge.client() as good:
            for number in range(600):
                headers = [*captured, *from_address(f"10.0.{number // 250}.{number % 250 + 1}")]
                statuses[attacker.ask(request("/webhook", headers, BODY)).status] += 1
                if number % 20 == 0:
                    body = b'{"order": %d}' % number
                    fresh = [*default(SECRET, body), *from_address(f"192.0.2.{number // 20 + 1}")]
                    assert good.ask(request("/webhook", fresh, body)).status == 200, number
        assert 60 <= statuses[200] <= 75, statuses
        assert edge.rate_limited("copies") == statuses[429]
        assert edge.rate_limited("limit") == 0

    def test_another_endpoint_and_another_message_have_their_own(self, start, upstream):
        edge = start(upstream, forwarded(*TWO["endpoints"]), variant_name="forwarded")
        with edge.client() as client:

            def send(path, body, number):
                address = from_address(f"10.0.0.{number + 1}")
                return client.ask(request(path, [*default(SECRET, body), *address], body)).status

            assert 429 in [send("/webhook", BODY, number) for number in range(70)]
            assert send("/webhook", b"another", 80) == send("/other", BODY, 81) == 200

    def test_what_is_remembered_or_unverified_has_no_limit_there(self, start, upstream):
        """Such requests have no header that names the message."""
        monitored = {"endpoints": [endpoint("orders", path="/webhook", mode="monitor")]}
        edge = start(upstream, monitored)
        with Sender(edge) as sender:
            assert set(sender.statuses(90, signed=False)) == {200}
        assert edge.rate_limited("copies") == 0
