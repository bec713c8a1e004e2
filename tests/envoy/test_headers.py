"""Headers that an application reads under another name, as PHP and CGI do, or trusts although any client can set them."""

from __future__ import annotations

import re

import pytest

from harness import client
from harness.envoy import Envoy
from harness.full_config import PRESETS, endpoint, patch, preset, signed
from harness.verdict import verdict

BODY = b'{"order": 42}'
# Every byte of a name that is not a letter, a digit or `-`.
SIGNS = "!#$%&'*+.^_`|~"
RESERVED = ["endpoint", "secret-version", "delivery", "verdict"]
ODD = [(f"x{sign}webhook{sign}guard{sign}{name}", "forged") for sign in SIGNS for name in RESERVED]
ODD += [(f"x{sign}real{sign}ip", "10.0.0.1") for sign in SIGNS] + [("X.Twice", "1"), ("x.twice", "2")]
CONFIGURATION = {
    "environment": "development",
    "unmatched": "pass",
    "endpoints": [
        endpoint("orders"),
        endpoint("watched", mode="monitor"),
        preset("standard-webhooks"),
        preset("github"),
        endpoint("odd", signature={"header": "X_Odd.Signature"}),
        endpoint("odd-watched", signature={"header": "X_Odd.Signature"}, mode="monitor"),
    ],
}


@pytest.fixture(scope="module")
def guarded(upstream):
    with Envoy(upstream.port, CONFIGURATION, patch=patch) as running:
        yield running


def php(name: str) -> str:
    """The key of $_SERVER under which PHP and CGI keep a header."""
    return "HTTP_" + re.sub("[^A-Z0-9]", "_", name.upper())


def names(request) -> list:
    return [name.decode("latin-1") for name, _ in request.headers]


def assert_one_meaning(request, *odd: str) -> None:
    """No two headers are one to PHP, and PHP changes no name except `odd`."""
    found = names(request)
    assert [name for name in found if not re.fullmatch("[A-Za-z0-9-]+", name)] == list(odd)
    folded = [php(name) for name in found if name.lower() != "x-forwarded-for"]
    assert len(set(folded)) == len(folded), sorted(folded)


def send(envoy, path: str, headers: list):
    """One request with at most 100 headers."""
    assert len(headers) < 95
    return client.post(envoy.port, path, headers, BODY)


@pytest.mark.parametrize(
    ("path", "outcome", "own"),
    [
        ("/orders", "accepted", {"HTTP_X_WEBHOOK_GUARD_ENDPOINT": "orders", "HTTP_X_WEBHOOK_GUARD_SECRET_VERSION": "v1"}),
        ("/watched", "monitored", {"HTTP_X_WEBHOOK_GUARD_VERDICT": "monitored"}),
        ("/elsewhere", "passed", {}),
    ],
)
def test_no_name_that_php_renames_reaches_the_upstream(path, outcome, own, guarded, upstream):
    before, size = len(upstream.requests), upstream.size()
    headers = signed(BODY) if outcome == "accepted" else []
    assert send(guarded, path, [*ODD, *headers]).status == 200
    request = upstream.next(before)
    assert_one_meaning(request)
    seen = {php(name.decode()): value.decode() for name, value in request.headers}
    seen.pop("HTTP_X_WEBHOOK_GUARD_MESSAGE", None)
    assert {name: value for name, value in seen.items() if name.startswith("HTTP_X_WEBHOOK_GUARD_")} == own
    assert seen["HTTP_X_REAL_IP"] == "127.0.0.1"
    assert upstream.size() > size
    assert all(b"forged" not in connection.bytes for connection in upstream.connections)


@pytest.mark.parametrize(
    ("name", "twins"),
    [
        ("standard-webhooks", ["webhook.id", "webhook_timestamp", "Webhook~Signature"]),
        ("github", ["x.hub.signature.256", "X_Hub_Signature_256"]),
    ],
)
def test_a_twin_of_a_signed_header_is_a_duplicate(name, twins, guarded, upstream):
    secret, sign = PRESETS[name]
    path, good = f"/hooks/{name}", sign(secret, BODY)
    assert send(guarded, path, good).status == 200
    for twin in twins:
        with upstream.nothing(), verdict(guarded, name, "denied", "signature_duplicated"):
            assert send(guarded, path, [(twin, "EVIL"), *good]).status == 401


def test_a_scheme_may_read_a_header_that_php_renames(guarded, upstream):
    good = [("X_Odd.Signature", signed(BODY)[0][1])]
    before = len(upstream.requests)
    assert send(guarded, "/odd", [*good, ("x.other", "1")]).status == 200
    assert_one_meaning(upstream.next(before), "x_odd.signature")
    for twin in ("x-odd-signature", "x.odd.signature"):
        with upstream.nothing():
            assert send(guarded, "/odd", [*good, (twin, "EVIL")]).status == 401
        before = len(upstream.requests)
        with verdict(guarded, "odd-watched", "monitored", "signature_duplicated"):
            assert send(guarded, "/odd-watched", [*good, (twin, "EVIL")]).status == 200
        assert_one_meaning(upstream.next(before), "x_odd.signature")


def test_a_name_that_begins_with_a_colon_is_rejected(guarded, upstream):
    with upstream.nothing():
        assert send(guarded, "/elsewhere", [(":x-webhook-guard-endpoint", "forged")]).status == 400


def test_a_clients_timeout_and_host_are_removed_and_its_request_id_stays(guarded, upstream):
    """A client's `grpc-timeout` ends in the filter `strip`; its `x-request-id` arrives, since some senders sign it."""
    before = len(upstream.requests)
    sent = [("grpc-timeout", "1n"), ("x-request-id", "of-the-client"), ("X-Forwarded-Host", "evil.test")]
    assert send(guarded, "/orders", [*sent, *signed(BODY)]).status == 200
    request = upstream.next(before)
    assert (request.all("grpc-timeout"), request.all("x-forwarded-host")) == ([], [])
    assert request.all("x-request-id") == ["of-the-client"]
