"""Which deliveries are the same to a real Envoy: no genuine one is lost, and no copy passes where one can be recognized."""

from __future__ import annotations

import base64
import itertools
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness import client, sign
from harness.envoy import Envoy
from harness.sign import mac

SECRET = "a secret of the identities"
ORIGIN = "https://hooks.example.com"
TELNYX = Ed25519PrivateKey.from_private_bytes(b"telnyx's seed of 32 bytes, fixed")
TELNYX_PUBLIC = base64.b64encode(TELNYX.public_key().public_bytes_raw()).decode()
FORM = ("content-type", "application/x-www-form-urlencoded")
FRESH = itertools.count()


def zendesk(body: bytes) -> list:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    signature = base64.b64encode(mac(SECRET.encode(), at.encode(), body)).decode()
    return [("x-zendesk-webhook-signature", signature), ("x-zendesk-webhook-signature-timestamp", at)]


def sanity(body: bytes) -> list:
    at = str(time.time_ns() // 1_000_000)
    signature = base64.urlsafe_b64encode(mac(SECRET.encode(), at.encode(), b".", body)).decode().rstrip("=")
    return [("sanity-webhook-signature", f"t={at},v1={signature}")]


def hubspot(body: bytes) -> list:
    at = str(time.time_ns() // 1_000_000)
    message = f"POST{ORIGIN}/hubspot".encode() + body + at.encode()
    signature = base64.b64encode(mac(SECRET.encode(), message)).decode()
    return [("x-hubspot-signature-v3", signature), ("x-hubspot-request-timestamp", at)]


def contentful(body: bytes) -> list:
    at = str(time.time_ns() // 1_000_000)
    listed = "x-contentful-signed-headers,x-contentful-timestamp"
    named = f"x-contentful-signed-headers:{listed};x-contentful-timestamp:{at}"
    signature = mac(SECRET.encode(), f"POST\n/contentful\n{named}\n".encode(), body).hex()
    return [
        ("x-contentful-signature", signature),
        ("x-contentful-signed-headers", listed),
        ("x-contentful-timestamp", at),
    ]


def telnyx(body: bytes) -> list:
    at = str(int(time.time()))
    signature = base64.b64encode(TELNYX.sign(at.encode() + b"|" + body)).decode()
    return [("telnyx-signature-ed25519", signature), ("telnyx-timestamp", at)]


def endpoint(name: str, provider: str, secret: str = SECRET, path: dict | None = None, **more) -> dict:
    secrets = [{"version": "v1", "value": secret}]
    return {"name": name, "match": path or {"path": f"/{name}"}, "provider": provider, "secrets": secrets, **more}


@pytest.fixture(scope="module")
def envoy(upstream):
    endpoints = [
        endpoint("zendesk", "zendesk", methods=["POST", "GET"], query=["ticket"]),
        endpoint("zendesk-events", "zendesk", id={"json": "/id", "optional": True}),
        endpoint("zendesk-unique", "zendesk", identity="message"),
        endpoint("sanity", "sanity"),
        endpoint("hubspot", "hubspot"),
        endpoint("contentful", "contentful"),
        endpoint("telnyx", "telnyx", TELNYX_PUBLIC, {"prefix": "/telnyx/"}),
        endpoint("circleci", "circleci"),
        endpoint("hub", "github", identity="message", replay={"window": "1h"}),
    ]
    configuration = {"environment": "test", "public_url": ORIGIN, "endpoints": endpoints}
    with Envoy(upstream.port, configuration) as running:
        yield running


@pytest.fixture
def statuses(envoy, upstream):
    """Sends the same request several times. Returns each status, and how many of them the upstream received."""

    def send(path: str, headers: list, body: bytes = b"", times: int = 2) -> tuple:
        before = len(upstream.requests)
        found = [client.post(envoy.port, path, headers, body).status for _ in range(times)]
        return found, len(upstream.requests) - before

    return send


@pytest.mark.parametrize("signer", [zendesk, sanity, hubspot, contentful])
def test_equal_deliveries_all_arrive_where_the_account_writes_the_body(signer, statuses):
    for body in (b'{"fixed": "text"}', b""):
        assert statuses(f"/{signer.__name__}", signer(body), body, times=3) == ([200] * 3, 3)


def test_a_get_with_another_query_is_another_delivery(envoy, upstream):
    """Zendesk signs the time in seconds and the empty body."""
    headers, before = zendesk(b""), len(upstream.requests)
    for ticket in range(3):
        assert client.post(envoy.port, f"/zendesk?ticket={ticket}", headers, b"", "GET").status == 200
    assert [each.path for each in upstream.requests[before:]] == [f"/zendesk?ticket={each}" for each in range(3)]


def test_an_old_copy_is_rejected_though_nothing_is_remembered(envoy, upstream):
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600))
    signature = base64.b64encode(mac(SECRET.encode(), at.encode(), b"{}")).decode()
    headers = [("x-zendesk-webhook-signature", signature), ("x-zendesk-webhook-signature-timestamp", at)]
    with upstream.nothing():
        assert client.post(envoy.port, "/zendesk", headers, b"{}").status == 401


def test_an_id_recognizes_copies_and_leaves_triggers_alone(envoy, upstream, statuses):
    event = b'{"id": "event-%d", "type": "zen:event-type:user.created"}' % next(FRESH)
    assert statuses("/zendesk-events", zendesk(event), event) == ([200, 200], 1)
    assert statuses("/zendesk-events", zendesk(event), event) == ([200, 200], 0)
    for trigger in (b'{"ticket": 7}', b"ticket=7", b"", b"<ticket>7</ticket>"):
        assert statuses("/zendesk-events", zendesk(trigger), trigger) == ([200, 200], 2)


def test_a_client_cannot_hide_the_id_of_a_copy(envoy, upstream, statuses):
    event = b'{"id": "event-%d"}' % next(FRESH)
    headers = zendesk(event)
    assert statuses("/zendesk-events", headers, event) == ([200, 200], 1)
    for disguise in (
        FORM,
        ("content-type", "multipart/form-data; boundary=x"),
        ("content-type", "application/json; charset=utf-16"),
        ("content-encoding", "gzip"),
    ):
        assert statuses("/zendesk-events", [*headers, disguise], event) == ([200, 200], 0), disguise


def test_the_message_recognizes_copies_where_the_user_says_that_bodies_are_unique(statuses):
    body = b'{"ticket": %d}' % next(FRESH)
    assert statuses("/zendesk-unique", zendesk(body), body) == ([200, 409], 1)
    body = b'{"commit": %d}' % next(FRESH)
    assert statuses("/hub", sign.github(SECRET, body), body) == ([200, 409], 1)


def test_an_event_of_telnyx_is_one_delivery_and_each_request_of_texml_is_another(statuses):
    event = b'{"data": {"id": "%d", "event_type": "call.initiated"}}' % next(FRESH)
    assert statuses("/telnyx/events", telnyx(event), event) == ([200, 200], 1)
    form = b"CallSid=v3&CallStatus=in-progress"
    headers = [*telnyx(form), FORM]
    assert statuses("/telnyx/menu", headers, form) == ([200, 200], 2)
    assert statuses("/telnyx/hold", headers, form) == ([200, 200], 2)


def test_a_preset_with_an_id_accepts_a_delivery_without_one(statuses):
    def signed(body: bytes) -> list:
        return [("circleci-signature", f"v1={mac(SECRET.encode(), body).hex()}")]

    event = b'{"id": "%d", "type": "workflow-completed"}' % next(FRESH)
    assert statuses("/circleci", signed(event), event) == ([200, 200], 1)
    for test in (b'{"type": "ping"}', b'{"id": null}', b'{"id": ""}'):
        assert statuses("/circleci", signed(test), test) == ([200, 200], 2)
