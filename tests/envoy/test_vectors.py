"""A vector of each preset in a real Envoy: the guard accepts what its sender signed."""

from __future__ import annotations

import json
import re

import pytest

from harness import client
from harness.envoy import ROOT, Envoy
from harness.presets import signature_of

FOLDER = ROOT / "tests" / "vectors"
# Vectors are old: the tolerance of their endpoints, and the oldest time within it.
YEARS, OLDEST = "99999h", 1_500_000_000
# The tokens of these vectors hold their end, which is long past.
EXPIRED = {"messagebird-jwt", "monday"}


def is_usable(vector: dict) -> bool:
    return vector["valid"] and "signature" not in vector and vector.get("now_unix", OLDEST) >= OLDEST


def first_valid(file) -> dict | None:
    return next(filter(is_usable, json.loads(file.read_text())), None)


VECTORS = {file.stem: first_valid(file) for file in sorted(FOLDER.glob("*.json"))}
VECTORS = {name: vector for name, vector in VECTORS.items() if vector and name not in EXPIRED}


def split_url(vector: dict) -> tuple:
    """Origin and the rest of the URL that was signed."""
    url = vector.get("url", "https://hooks.example.com/webhook")
    return re.fullmatch(r"(https?://[^/]+)(/.*)", url).groups()


def has_timestamp(signature: dict) -> bool:
    return "timestamp" in signature or "{timestamp}" in str(signature.get("format"))


def endpoint(name: str, vector: dict) -> dict:
    secret = {"version": "v1", "value": vector["secret"]}
    secret.update({"key_id": vector["key_id"]} if "key_id" in vector else {})
    found = {
        "name": name,
        "match": {"prefix": "/", "host": f"{name}.test"},
        "provider": name,
        "public_url": split_url(vector)[0],
        "methods": [vector.get("method", "POST")],
        "secrets": [secret],
    }
    found.update({"query": vector["query"]} if "query" in vector else {})
    return {**found, "tolerance": YEARS} if has_timestamp(signature_of(name)) else found


def headers(name: str, vector: dict) -> list:
    """The headers of a vector. A list means several headers of one name."""
    listed = [
        (header, value)
        for header, values in vector["headers"].items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return [("host", f"{name}.test"), *listed]


# X's handshake reveals MACs, so an endpoint beside it must not have its secret, as some vectors do.
ALONE = {"x"}


def configuration(names) -> dict:
    return {"environment": "test", "endpoints": [endpoint(name, VECTORS[name]) for name in names]}


@pytest.fixture(scope="module")
def envoys(upstream):
    """The Envoy of each preset."""
    most = [name for name in VECTORS if name not in ALONE]
    with Envoy(upstream.port, configuration(most)) as shared, Envoy(upstream.port, configuration(ALONE)) as own:
        yield {name: own if name in ALONE else shared for name in VECTORS}


def ask(envoy, name: str, vector: dict, body: bytes) -> int:
    _, target = split_url(vector)
    method = vector.get("method", "POST")
    return client.post(envoy.port, target, headers(name, vector), body, method).status


def test_nearly_every_preset_has_one():
    presets = {file.stem for file in (ROOT / "src" / "providers").glob("*.json")}
    assert len(presets) >= 75
    assert presets - set(VECTORS) == EXPIRED


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_is_accepted_and_a_changed_body_is_denied(name, envoys, upstream):
    envoy, vector = envoys[name], VECTORS[name]
    body = vector["body"].encode()
    before = len(upstream.requests)
    assert ask(envoy, name, vector, body) == 200
    assert upstream.next(before).body == body
    assert upstream.requests[before].all("x-webhook-guard-endpoint") == [name]
    signature = signature_of(name)
    if signature.get("body") == "unsigned":
        return
    with upstream.nothing():
        changed = body[:-1] + b"~" if body else b"~"
        assert ask(envoy, name, vector, changed) == 401


def test_the_log_reports_an_unsigned_body(envoys):
    """Each log line shows an operator that the body was not signed."""
    lines = envoys["github"].guard_lines()
    line = next(each for each in lines if each["endpoint"] == "mailgun")
    assert line["body_signed"] is False
    assert "body_signed" not in next(each for each in lines if each["endpoint"] == "github")


# The presets whose senders sign the URL or its path.
URLS = ["contentful", "hubspot", "hubspot-v2", "plivo", "plivo-v3", "square", "trello", "twilio"]


@pytest.fixture(scope="module")
def mapped(upstream):
    """An Envoy behind a proxy that puts /internal before each path."""
    endpoints = [
        {
            **endpoint(name, VECTORS[name]),
            "match": {"prefix": "/internal/", "host": f"{name}.test"},
            "public_url": split_url(VECTORS[name])[0] + "/",
            "query": "any",
        }
        for name in URLS
    ]
    with Envoy(upstream.port, {"environment": "test", "endpoints": endpoints}) as running:
        yield running


@pytest.mark.parametrize("name", URLS)
def test_a_sender_may_sign_another_path_than_envoy_gets(name, mapped, upstream):
    vector = VECTORS[name]
    origin, path = split_url(vector)
    before = len(upstream.requests)
    arrived = {**vector, "url": f"{origin}/internal{path}"}
    body = vector["body"].encode()
    assert ask(mapped, name, arrived, body) == 200
    assert upstream.next(before).path == f"/internal{path}", "the path itself stays as Envoy got it"
    other = {**vector, "url": f"{origin}/internal/x{path}"}
    with upstream.nothing():
        assert ask(mapped, name, other, body) == 401
