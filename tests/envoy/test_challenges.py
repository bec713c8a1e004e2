"""Handshakes in a real Envoy: the guard answers, counts and logs them. Nothing of them goes upstream."""

from __future__ import annotations

import json

import pytest

from harness import client, sign
from harness.envoy import SECRET, Envoy
from harness.full_config import endpoint

TOKEN = "a-token-that-we-chose"
# X's handshake reveals MACs, so another endpoint must not use the same secret.
X_SECRET = "the-secret-of-an-app-at-x"
URL = {"public_url": "https://hooks.example.com"}


def answering(provider: str, *secrets, **more) -> dict:
    return endpoint(provider, *secrets, provider=provider, answer_challenges=True, **more)


CONFIGURATION = {
    "endpoints": [
        answering("slack"),
        answering("dropbox"),
        answering("microsoft-graph"),
        answering("okta"),
        answering("x", {"version": "v1", "env": "X_SECRET"}),
        answering("monday", **URL),
        answering("trello", **URL),
        answering("meta", verify_token={"env": "META_TOKEN"}),
        {**endpoint("quiet"), "provider": "dropbox"},
        {**answering("watched"), "provider": "dropbox", "mode": "monitor", "methods": ["GET"]},
    ]
}


@pytest.fixture(scope="module")
def envoy(upstream):
    with Envoy(upstream.port, CONFIGURATION, env={"META_TOKEN": TOKEN, "X_SECRET": X_SECRET}) as running:
        yield running
        assert TOKEN not in running.log()


def ask(envoy, target: str, headers=(), body: bytes = b"", method: str = "GET"):
    return client.post(envoy.port, target, headers, body, method)


def mac(text: bytes) -> str:
    return sign.base64.b64encode(sign.mac(X_SECRET.encode(), text)).decode()


ANSWERS = {
    "dropbox": ("GET", "/dropbox?challenge=a%20b", [], b"", "text/plain", b"a b"),
    "microsoft-graph": ("POST", "/microsoft-graph?validationToken=x%3Cy", [], b"", "text/plain", b"x<y"),
    "okta": (
        "GET",
        "/okta",
        [("x-okta-verification-challenge", "abc")],
        b"",
        "application/json",
        b'{"verification":"abc"}',
    ),
    "x": (
        "GET",
        "/x?crc_token=abc",
        [],
        b"",
        "application/json",
        f'{{"response_token":"sha256={mac(b"abc")}"}}'.encode(),
    ),
    "monday": ("POST", "/monday", [], b'{"challenge":"abc"}', "application/json", b'{"challenge":"abc"}'),
    "meta": (
        "GET",
        f"/meta?hub.mode=subscribe&hub.verify_token={TOKEN}&hub.challenge=123",
        [],
        b"",
        "text/plain",
        b"123",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_each_is_answered_as_its_sender_wants_it(name, envoy, upstream):
    method, target, headers, body, media_type, expected = ANSWERS[name]
    with upstream.nothing():
        answer = ask(envoy, target, headers, body, method)
    assert (answer.status, answer.body) == (200, expected)
    assert answer.all("content-type") == [media_type]
    assert answer.all("x-content-type-options") == ["nosniff"]
    assert answer.all("cache-control") == ["no-store"]
    assert envoy.count(name, "challenged", "challenge_answered") == 1
    line = envoy.guard_lines()[-1]
    assert (line["endpoint"], line["verdict"], line["level"]) == (name, "challenged", "info")


def test_a_signed_one_and_a_forged_one(envoy, upstream):
    body = json.dumps({"type": "url_verification", "challenge": "abc"}).encode()
    with upstream.nothing():
        answer = ask(envoy, "/slack", sign.slack(SECRET, body), body, "POST")
        assert (answer.status, answer.body) == (200, b"abc")
        assert ask(envoy, "/slack", sign.slack("another", body), body, "POST").status == 401
        assert ask(envoy, "/slack", [], body, "POST").status == 401
    assert envoy.secret_uses("slack", "v1") == 1
    delivery = b'{"type":"event_callback","challenge":"abc"}'
    answer = ask(envoy, "/slack", sign.slack(SECRET, delivery), delivery, "POST")
    assert (answer.status, answer.body) == (200, b"hello")


def test_a_probe_is_answered_and_a_delivery_goes_on(envoy, upstream):
    with upstream.nothing(), client.Client(envoy.port) as probe:
        probe.send(client.request("/trello", (), None, "HEAD"))
        assert probe.socket.recv(100).startswith(b"HTTP/1.1 200")
        assert ask(envoy, "/trello").status == 405


def test_a_wrong_token_is_answered_like_any_other_method(envoy, upstream):
    with upstream.nothing():
        target = "/meta?hub.mode=subscribe&hub.verify_token=guessed&hub.challenge=123"
        answer = ask(envoy, target)
        assert (answer.status, answer.all("allow")) == (405, ["POST"])


def test_only_endpoints_that_are_configured_for_it_answer(envoy, upstream):
    with upstream.nothing():
        assert ask(envoy, "/quiet?challenge=abc").status == 405
    # In mode `monitor`, the guard does not answer handshakes.
    answer = ask(envoy, "/watched?challenge=abc")
    assert (answer.status, answer.body) == (200, b"hello")
