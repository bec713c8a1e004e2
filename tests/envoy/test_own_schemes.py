"""Signature blocks written from the reference alone accept, in a real Envoy, what their senders sign."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from email.utils import formatdate

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness import client, sign
from harness.envoy import ROOT, SECRET, Envoy

BLOCKS = yaml.safe_load((ROOT / "tests" / "envoy" / "own_schemes.yaml").read_text())
SENDERS = [
    "stripe",
    "slack",
    "standard-webhooks",
    "paddle",
    "twilio",
    "hubspot",
    "box",
    "recurly",
    "mollie",
    "linear",
]
# Vectors are old: the tolerance of their endpoints, and the oldest time within it.
YEARS, OLDEST = "99999h", 1_500_000_000
ORIGIN = "https://hooks.example.com"
# The courier's two private keys by the name that it gives each, so short that eight make a seed.
KEYS = {name: Ed25519PrivateKey.from_private_bytes(name.encode() * 8) for name in ("main", "next")}


# Invalid at any time: another scheme, form, order or version, no time, or a body that nothing binds.
NEVER = [
    "161-stripe",
    "158-standard-webhooks",
    "194-twilio",
    "twilio-sdk-5",
    "box-sdk-3",
    "recurly-computed-2",
    "mollie-sdk-3",
    "linear-computed-1",
]


def is_usable(vector: dict) -> bool:
    """Whether it is valid and not too old for an endpoint here, or invalid whatever the time."""
    return vector["id"] in NEVER or vector["valid"] and vector.get("now_unix", OLDEST) >= OLDEST


def usable_vectors(name: str) -> list:
    file = ROOT / "tests" / "vectors" / f"{name}.json"
    return list(filter(is_usable, json.loads(file.read_text())))


# Each vector has an endpoint of its own, named by its id, with the sender's block.
VECTORS = {vector["id"]: (name, vector) for name in SENDERS for vector in usable_vectors(name)}
VALID = [identity for identity, (_, vector) in VECTORS.items() if vector["valid"]]


def split_url(vector: dict) -> tuple:
    """Origin and the rest of the URL that was signed."""
    url = vector.get("url", f"{ORIGIN}/webhook")
    return re.fullmatch(r"(https?://[^/]+)(/.*)", url).groups()


def of_vector(identity: str) -> dict:
    """The endpoint that takes this vector, whenever it was made."""
    name, vector = VECTORS[identity]
    found = {
        "name": identity,
        "match": {"prefix": "/", "host": f"{identity}.test"},
        "signature": BLOCKS[name],
        "public_url": split_url(vector)[0],
        "methods": [vector.get("method", "POST")],
        "secrets": [{"version": "v1", "value": vector["secret"]}],
    }
    return {**found, "tolerance": YEARS} if "timestamp" in BLOCKS[name] else found


def of_block(name: str, *secrets: dict, **more) -> dict:
    """An endpoint with the block of this name as it is."""
    secrets = list(secrets) or [{"version": "v1", "value": SECRET}]
    found = {"name": name, "match": {"path": f"/{name}"}, "signature": BLOCKS[name]}
    return {**found, "secrets": secrets, **more}


def public_key(name: str) -> dict:
    """The courier's key of this name, as a secret."""
    return {"version": name, "value": KEYS[name].public_key().public_bytes_raw().hex(), "key_id": name}


@pytest.fixture(scope="module")
def envoy(upstream):
    endpoints = [
        *map(of_vector, VECTORS),
        of_block("slack", answer_challenges=True),
        of_block("ledger"),
        of_block("courier", *map(public_key, KEYS)),
        of_block("gazette", public_url=ORIGIN),
    ]
    with Envoy(upstream.port, {"environment": "test", "endpoints": endpoints}) as running:
        yield running


def send_vector(envoy, identity: str, body: bytes) -> int:
    """The status of a vector's request with a body. A list of values means several headers."""
    _, vector = VECTORS[identity]
    headers = [("host", f"{identity}.test")]
    for header, values in vector["headers"].items():
        headers += [(header, value) for value in (values if isinstance(values, list) else [values])]
    method = vector.get("method", "POST")
    return client.post(envoy.port, split_url(vector)[1], headers, body, method).status


def status(envoy, name: str, headers: list, body: bytes) -> int:
    return client.post(envoy.port, f"/{name}", headers, body).status


def test_every_block_is_tried():
    """Each block of the file has a test, and each sender has a vector."""
    assert set(BLOCKS) == {*SENDERS, "ledger", "courier", "gazette"}
    assert {VECTORS[identity][0] for identity in VALID} == set(SENDERS)


@pytest.mark.parametrize("identity", VALID)
def test_what_the_sender_signed_is_accepted(identity, envoy, upstream):
    """The valid vector goes upstream unchanged, through its own endpoint."""
    body = VECTORS[identity][1]["body"].encode()
    before = len(upstream.requests)
    assert send_vector(envoy, identity, body) == 200
    assert upstream.next(before).body == body
    assert upstream.requests[before].all("x-webhook-guard-endpoint") == [identity]


@pytest.mark.parametrize("identity", VALID)
def test_a_changed_body_is_denied(identity, envoy, upstream):
    """One space more, which does not change the meaning of JSON. Nothing goes upstream."""
    with upstream.nothing():
        assert send_vector(envoy, identity, VECTORS[identity][1]["body"].encode() + b" ") == 401


@pytest.mark.parametrize("identity", NEVER)
def test_a_vector_that_is_never_valid_is_denied(identity, envoy, upstream):
    """The vector is invalid at any time."""
    with upstream.nothing():
        assert send_vector(envoy, identity, VECTORS[identity][1]["body"].encode()) == 401


def test_slack_gets_its_challenge_back(envoy, upstream):
    """The guard answers a signed url_verification with its challenge, and denies a forged or unsigned one."""
    body = json.dumps({"type": "url_verification", "challenge": "abc"}).encode()
    with upstream.nothing():
        answer = client.post(envoy.port, "/slack", sign.slack(SECRET, body), body)
        assert (answer.status, answer.body) == (200, b"abc")
        assert status(envoy, "slack", sign.slack("another", body), body) == 401
        assert status(envoy, "slack", [], body) == 401


def test_slack_events_are_not_taken_for_challenges(envoy):
    """The guard forwards an event, also one with a field named `challenge`."""
    body = json.dumps({"type": "event_callback", "challenge": "abc"}).encode()
    assert client.post(envoy.port, "/slack", sign.slack(SECRET, body), body).body == b"hello"


def ledger(*tokens: str) -> bytes:
    return json.dumps({"entries": [{"token": token, "amount": 1} for token in tokens]}).encode()


def test_a_ledger_is_accepted_by_its_token(envoy):
    """One entry holds the token, or three do."""
    assert status(envoy, "ledger", [], ledger(SECRET)) == 200
    assert status(envoy, "ledger", [], ledger(SECRET, SECRET, SECRET)) == 200


@pytest.mark.parametrize("tokens", [[], ["guessed"], [SECRET, "guessed"], ["guessed", SECRET]])
def test_a_ledger_needs_the_token_in_each_entry(tokens, envoy, upstream):
    """One entry with another token is enough to deny all of them."""
    with upstream.nothing():
        assert status(envoy, "ledger", [], ledger(*tokens)) == 401


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def courier(body: bytes, keys: dict, identity: str = "delivery-1", at: float | None = None) -> list:
    """The headers of a delivery, with a numbered signature for each key id by the key that it maps to."""
    date = formatdate(at or time.time(), usegmt=True)
    message = f"{identity}|{date}|".encode() + body
    signatures = [f"kid={kid}; sig={encode(KEYS[key].sign(message))}" for kid, key in keys.items()]
    numbered = [(f"X-Courier-Signature-{number}", each) for number, each in enumerate(signatures, 1)]
    return [("Date", date), ("X-Courier-Delivery", identity), *numbered]


@pytest.mark.parametrize("name", KEYS)
def test_a_courier_is_accepted_by_each_key(name, envoy):
    """The log names the key of the signature."""
    since = envoy.log_size()
    assert status(envoy, "courier", courier(b"parcel", {name: name}), b"parcel") == 200
    line = envoy.guard_lines(since)[-1]
    assert (line["secret_version"], line["delivery_id"]) == (name, "delivery-1")


def test_a_courier_is_denied(envoy, upstream):
    """With another body, another key's name, an id that holds the separator, or a date of an hour ago."""
    swapped = courier(b"parcel", {"main": "next"})
    split = courier(b"parcel", {"main": "main"}, identity="delivery|1")
    late = courier(b"parcel", {"main": "main"}, at=time.time() - 3600)
    with upstream.nothing():
        assert status(envoy, "courier", courier(b"parcel", {"main": "main"}), b"another") == 401
        assert [status(envoy, "courier", each, b"parcel") for each in (swapped, split, late)] == [401] * 3


def gazette(body: bytes, secret: str = SECRET, **claims) -> list:
    """The header with the token of an issue; `claims` are set beside its own, or instead of them."""
    own = {"iss": "gazette", "aud": f"{ORIGIN}/gazette", "jti": "issue-1", "iat": int(time.time())}
    own["sha256"] = encode(hashlib.sha256(body).digest())
    parts = [encode(json.dumps(each).encode()) for each in ({"alg": "HS256"}, {**own, **claims})]
    signature = encode(sign.mac(secret.encode(), ".".join(parts).encode()))
    return [("Authorization", "Bearer " + ".".join([*parts, signature]))]


def test_a_gazette_is_accepted(envoy):
    """The id in the claims is the id of the delivery."""
    since = envoy.log_size()
    assert status(envoy, "gazette", gazette(b"news"), b"news") == 200
    assert envoy.guard_lines(since)[-1]["delivery_id"] == "issue-1"


OTHERWISE = {
    "secret": "another",
    "iss": "tabloid",
    "aud": f"{ORIGIN}/else",
    "iat": 1,
    "sha256": encode(hashlib.sha256(b"fake").digest()),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_gazette_is_denied(name, envoy, upstream):
    """With another secret, or a claim that says anything else."""
    with upstream.nothing():
        assert status(envoy, "gazette", gazette(b"news", **{name: OTHERWISE[name]}), b"news") == 401


def test_a_gazette_with_a_changed_body_is_denied(envoy, upstream):
    """The token is valid, but for another body."""
    with upstream.nothing():
        assert status(envoy, "gazette", gazette(b"news"), b"fake") == 401
