"""Several forms of one message, and several algorithms, in a real Envoy."""

from __future__ import annotations

import base64
import json
import os
import time

import pytest

from harness import client, sign
from harness.envoy import ROOT, Envoy
from harness.upstream import Upstream

ORIGIN = "https://hooks.example.com"
TWILIO = json.loads((ROOT / "tests" / "vectors" / "twilio.json").read_text())
# Requests that Twilio's package signed, for URLs with and without a port.
MADE = {vector["id"]: vector for vector in TWILIO if vector["id"].startswith("twilio-forms-")}
SECRET = MADE["twilio-forms-1"]["secret"]
FORM = ("content-type", "application/x-www-form-urlencoded")
SETTINGS = "X-Twilio-Webhooks-Signature-Settings"


def origin_of(vector: dict) -> str:
    return "/".join(vector["url"].split("/")[:3])


def endpoint(name: str, secret: str, **fields) -> dict:
    """An endpoint of its own host."""
    return {
        "name": name,
        "match": {"path": "/webhook", "host": f"{name}.test"},
        "secrets": [{"version": "v1", "value": secret}],
        **fields,
    }


REMEMBERS = {
    "header": "X-Signature",
    "encoding": "base64",
    "message": "{url_any_port}.{timestamp}.{body}",
    "timestamp": {"header": "X-Timestamp"},
}


LISTS = {
    "header": "X-Signature",
    "message": ["{body}", "{body}\n", "v1:{body}"],
    "algorithm": ["hmac-sha1", "hmac-sha256"],
}


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def envoy(upstream):
    endpoints = [
        endpoint(identity, SECRET, provider="twilio", public_url=origin_of(vector), methods=["GET", "POST"])
        for identity, vector in MADE.items()
    ]
    endpoints.append(endpoint("lists", "a-third-secret-of-the-tests", signature=LISTS))
    endpoints.append(endpoint("remembers", "another-secret-of-the-tests", signature=REMEMBERS, public_url=ORIGIN))
    with Envoy(upstream.port, {"environment": "test", "endpoints": endpoints}) as running:
        yield running


def ask(envoy, name: str, path: str, headers: list, body: bytes, method: str = "POST") -> int:
    return client.post(envoy.port, path, [("host", f"{name}.test"), *headers], body, method).status


def deliver(envoy, identity: str, **changes) -> int:
    """Delivers what Twilio's package signed."""
    vector = {**MADE[identity], **changes}
    headers = list(vector["headers"].items())
    return ask(envoy, identity, vector["url"][len(origin_of(vector)) :], headers, vector["body"].encode())


def twilio(url: str, algorithm: str, fields: str = "") -> tuple:
    """Twilio's signature by Python's HMAC."""
    made = sign.mac(SECRET.encode(), (url + fields).encode(), algorithm=algorithm)
    return ("X-Twilio-Signature", base64.b64encode(made).decode())


@pytest.mark.parametrize("identity", MADE)
def test_the_guard_decides_as_twilios_package(identity, envoy, upstream):
    before = len(upstream.requests)
    if not MADE[identity]["valid"]:
        with upstream.nothing():
            assert deliver(envoy, identity) == 401
        return
    assert deliver(envoy, identity) == 200
    assert upstream.next(before).body == MADE[identity]["body"].encode()
    with upstream.nothing():
        assert deliver(envoy, identity, body=MADE[identity]["body"] + "&a=1") == 401


def test_a_forged_settings_header_changes_nothing(envoy, upstream):
    """Twilio does not sign this header."""
    vector = MADE["twilio-forms-6"]
    without = {name: value for name, value in vector["headers"].items() if name != SETTINGS}
    values = ["key=k,algorithm=HMAC_SHA1", "algorithm=none", "algorithm=HMAC_SHA512", ""]
    for headers in [without, *({**without, SETTINGS: value} for value in values)]:
        before = len(upstream.requests)
        assert deliver(envoy, "twilio-forms-6", headers=headers) == 200
        assert upstream.next(before).path == "/webhook?foo=1"
        with upstream.nothing():
            assert deliver(envoy, "twilio-forms-6", headers=headers, body="From=1") == 401


@pytest.mark.parametrize("port", ["", ":443"])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_get_and_empty_forms(port, algorithm, envoy, upstream):
    """Voice webhooks may come by GET."""
    path = "/webhook?CallSid=CA1&Body=it%27s"
    for spelling in ("'", "%27"):
        headers = [twilio(f"{ORIGIN}{port}{path}".replace("%27", spelling), algorithm)]
        for method, more in (("GET", []), ("POST", [FORM])):
            before = len(upstream.requests)
            assert ask(envoy, "twilio-forms-1", path, headers + more, b"", method) == 200
            assert upstream.next(before).path == path
        with upstream.nothing():
            assert ask(envoy, "twilio-forms-1", path + "&Digits=1", headers, b"", "GET") == 401
            assert ask(envoy, "twilio-forms-1", path, [*headers, FORM], b"Digits=1") == 401
            assert ask(envoy, "twilio-forms-1", path.replace("%27", "%2527"), headers, b"", "GET") == 401


def test_a_signature_by_another_algorithm_is_malformed(envoy, upstream):
    log = envoy.log_size()
    with upstream.nothing():
        headers = [FORM, twilio(f"{ORIGIN}/webhook", "sha512"), (SETTINGS, "key=k,algorithm=HMAC_SHA512")]
        assert ask(envoy, "twilio-forms-1", "/webhook", headers, b"") == 401
    assert [line["reason"] for line in envoy.guard_lines(log)] == ["signature_malformed"]


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_each_message_of_a_list(algorithm, envoy, upstream):
    """The guard hashes the first message as the body arrives, and the others after it."""
    body = os.urandom(300_000)

    def send(*parts: bytes) -> int:
        made = sign.mac(b"a-third-secret-of-the-tests", *parts, algorithm=algorithm).hex()
        return ask(envoy, "lists", "/webhook", [("x-signature", made)], body)

    for parts in ((body,), (body, b"\n"), (b"v1:", body)):
        before = len(upstream.requests)
        assert send(*parts) == 200
        assert upstream.next(before).body == body
    with upstream.nothing():
        for parts in ((b"v1:", body, b"\n"), (b"v2:", body), (body[:-1],), ()):
            assert send(*parts) == 401


def test_a_copy_in_another_form_is_a_duplicate(envoy, upstream):
    """An attacker changes the spelling of a character that both requests sign alike."""
    body, at = b"once", str(int(time.time()))

    def send(path: str, signed: str) -> int:
        made = sign.mac(b"another-secret-of-the-tests", f"{ORIGIN}{signed}.{at}.".encode(), body)
        headers = [("x-timestamp", at), ("x-signature", base64.b64encode(made).decode())]
        return ask(envoy, "remembers", path, headers, body)

    before = len(upstream.requests)
    assert send("/webhook?q=it's", "/webhook?q=it's") == 200
    assert upstream.next(before).path == "/webhook?q=it's"
    with upstream.nothing():
        for path in ("/webhook?q=it's", "/webhook?q=it%27s"):
            for signed in (path, "/webhook?q=it's", "/webhook?q=it%27s"):
                assert send(path, signed) == 409
    assert send("/webhook?q=its", "/webhook?q=its") == 200, "another delivery"
