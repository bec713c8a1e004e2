"""A fleet: two outer Envoys with edge-fleet.patch, two inner ones with envoy.yaml, and one application."""

from __future__ import annotations

import itertools

import pytest

from harness import client, sign
from harness.concurrently import at_once
from harness.envoy import Envoy
from harness.polling import until

BODY = b'{"order": 42}'
SECRET = "secret-of-slack-1"
CONFIGURATION = {
    "environment": "test",
    "endpoints": [
        {
            "name": "slack",
            "match": {"path": "/slack"},
            "provider": "slack",
            "secrets": [{"version": "v1", "value": SECRET}],
        }
    ],
}


@pytest.fixture
def inner(request, upstream):
    def patch(document):
        document.manager["xff_num_trusted_hops"] = 1

    both = [Envoy(upstream.port, CONFIGURATION, patch=patch) for _ in range(2)]
    for each in both:
        request.addfinalizer(each.stop)
        each.start()
    return both


@pytest.fixture
def outer(start, upstream, inner):
    def patch(document):
        hosts = document.cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        for host, each in zip(hosts, inner, strict=True):
            host["endpoint"]["address"]["socket_address"]["port_value"] = each.port
        # Rate limits by address are not tested here.
        document.remove_filters("shield", "copies", "limit")

    return [start(upstream, CONFIGURATION, variant_name="fleet", patch=patch) for _ in range(2)]


def new(numbers=itertools.count()) -> tuple:
    body = b'{"order": %d}' % next(numbers)
    return "/slack", sign.slack(SECRET, body), body


def test_copies_to_both_machines_at_once_reach_the_upstream_once(outer, upstream):
    for turn in range(1, 11):
        delivery = new()
        answers = at_once(lambda number: outer[number % 2].post(*delivery), range(60))
        until(lambda: len(upstream.requests) >= turn)
        assert {each.status for each in answers} == {200, 409}
        assert sum(each.body == b"hello" for each in answers) == 1
        assert len(upstream.requests) == turn


def test_a_copy_that_comes_later_to_the_other_machine_is_known(outer, upstream):
    for _ in range(10):
        path, headers, body = delivery = new()
        assert outer[0].post(*delivery).body == b"hello"
        # In capitals the signature is still the same.
        dressed = [(name, value.upper().replace("V0=", "v0=")) for name, value in headers]
        assert outer[1].post(path, dressed, body).body == b"Already delivered"
    assert len(upstream.requests) == 10


def test_both_inner_machines_have_their_part(outer, inner):
    for _ in range(40):
        assert outer[0].post(*new()).status == 200
    counts = [each.count("slack", "accepted", "accepted") for each in inner]
    assert sum(counts) == 40
    assert min(counts) > 0, counts


def test_the_application_gets_the_address_of_the_sender(outer, upstream):
    assert outer[0].post(*new(), source="127.0.0.9").status == 200
    assert upstream.requests[0].get("x-real-ip") == "127.0.0.9"


def test_the_inner_machine_verifies_every_request(inner, upstream):
    """Also a request with headers that claim a verification by the outer tier."""
    claim = [("x-webhook-guard-delivery", "0" * 32), ("x-webhook-guard-endpoint", "slack")]
    with upstream.nothing():
        assert client.post(inner[0].port, "/slack", claim, BODY).status == 401


def test_machines_side_by_side_share_no_memory(inner, upstream):
    """A fleet without an outer tier: each machine lets one copy through."""
    delivery = new()
    assert [client.post(each.port, *delivery).body for each in inner] == [b"hello", b"hello"]
