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
LINKEDIN_SECRET = "the-secret-of-an-app-at-linkedin"
AZURE_TOKEN = "the-token-in-the-url-for-azure"
FORM = ("content-type", "application/x-www-form-urlencoded")
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
        answering("linkedin", {"version": "v1", "env": "LINKEDIN_SECRET"}),
        answering("azure-event-grid", {"version": "v1", "env": "AZURE_TOKEN"}),
        answering("woocommerce"),
        answering("asana"),
        answering("monday", **URL),
        answering("trello", **URL),
        answering("meta", verify_token={"env": "META_TOKEN"}),
        {**endpoint("xero"), "provider": "xero"},
        {**endpoint("quiet"), "provider": "dropbox"},
        {**endpoint("quiet-shop"), "provider": "woocommerce"},
        {**answering("watched"), "provider": "dropbox", "mode": "monitor", "methods": ["GET"]},
    ]
}


@pytest.fixture(scope="module")
def envoy(upstream):
    env = {
        "META_TOKEN": TOKEN,
        "X_SECRET": X_SECRET,
        "LINKEDIN_SECRET": LINKEDIN_SECRET,
        "AZURE_TOKEN": AZURE_TOKEN,
    }
    with Envoy(upstream.port, CONFIGURATION, env=env) as running:
        yield running
        log = running.log()
        assert not [value for value in env.values() if value in log]


def ask(envoy, target: str, headers=(), body: bytes = b"", method: str = "GET"):
    return client.post(envoy.port, target, headers, body, method)


def mac(text: bytes) -> str:
    return sign.base64.b64encode(sign.mac(X_SECRET.encode(), text)).decode()


CODE = "890e4665-4dfe-4ab1-b689-ed553bceeed0"
# As Event Grid's documentation has it.
VALIDATION = json.dumps(
    [
        {
            "id": "2d1781af-3a4c-4d7c-bd0c-e34b19da4e66",
            "topic": "/subscriptions/xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
            "subject": "",
            "data": {
                "validationCode": "512d38b6-c7b8-40c8-89fe-f46f9e9622b6",
                "validationUrl": "https://rp-eastus2.eventgrid.azure.net/eventsubscriptions/estest/validate?id=512d38b6",
            },
            "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
            "eventTime": "2022-10-28T04:23:35.1981776Z",
            "metadataVersion": "1",
            "dataVersion": "1",
        }
    ]
).encode()


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
    "linkedin": (
        "GET",
        f"/linkedin?challengeCode={CODE}&applicationId=42",
        [],
        b"",
        "application/json",
        json.dumps(
            {"challengeCode": CODE, "challengeResponse": sign.mac(LINKEDIN_SECRET.encode(), CODE.encode()).hex()},
            separators=(",", ":"),
        ).encode(),
    ),
    "azure-event-grid": (
        "POST",
        f"/azure-event-grid?token={AZURE_TOKEN}",
        [("aeg-event-type", "SubscriptionValidation"), ("content-type", "application/json; charset=utf-8")],
        VALIDATION,
        "application/json",
        b'{"validationResponse":"512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}',
    ),
    "woocommerce": (
        "POST",
        "/woocommerce",
        # WordPress sends its charset with a form.
        [("content-type", "application/x-www-form-urlencoded; charset=UTF-8"), ("user-agent", "WooCommerce/9.1 Hookshot")],
        b"webhook_id=7",
        None,
        b"",
    ),
    "asana": ("POST", "/asana", [("x-hook-secret", "b537207f")], b"", None, b""),
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
    # Envoy sends no type with an empty body.
    assert answer.all("content-type") == ([media_type] if media_type else [])
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


def test_woocommerce_pings_and_delivers(envoy, upstream):
    """Without `answer_challenges`, a ping is rejected. A signed request is a delivery, also as a form."""
    ping = b"webhook_id=7"
    with upstream.nothing():
        assert ask(envoy, "/quiet-shop", [FORM], ping, "POST").status == 401
        for wrong in ["", "x", sign.base64.b64encode(bytes(32)).decode()]:
            signed = [FORM, ("x-wc-webhook-signature", wrong)]
            assert ask(envoy, "/woocommerce", signed, ping, "POST").status == 401
    for body, media_type in [(ping, FORM), (b'{"id":1}', ("content-type", "application/json"))]:
        signature = sign.base64.b64encode(sign.mac(SECRET.encode(), body)).decode()
        signed = [media_type, ("x-wc-webhook-signature", signature)]
        answer = ask(envoy, "/woocommerce", signed, body, "POST")
        assert (answer.status, answer.body) == (200, b"hello")


def test_slack_checks_a_certificate(envoy, upstream):
    body = b"token=abc&ssl_check=1"
    with upstream.nothing():
        for headers in [[FORM], [FORM, *sign.slack(SECRET, body)]]:
            answer = ask(envoy, "/slack", headers, body, "POST")
            assert (answer.status, answer.body) == (200, b"")
        forged = [FORM, *sign.slack("another", body)]
        assert ask(envoy, "/slack", forged, body, "POST").status == 401
        assert ask(envoy, "/slack", [FORM], b"token=abc&command=/deploy", "POST").status == 401


def test_event_grid_asks_for_permission(envoy, upstream):
    """CloudEvents 1.0: an OPTIONS, whose answer is in headers. Only a request with the token of the URL gets one."""
    origin = ("webhook-request-origin", "eventgrid.azure.net")
    target = f"/azure-event-grid?token={AZURE_TOKEN}"
    with upstream.nothing():
        answer = ask(envoy, target, [origin, ("webhook-request-rate", "120")], b"", "OPTIONS")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.all("webhook-allowed-origin") == ["eventgrid.azure.net"]
        assert answer.all("webhook-allowed-rate") == ["*"]
        assert answer.all("allow") == ["POST"]
        assert not answer.all("set-cookie")
        for other in ["/azure-event-grid", "/azure-event-grid?token=guessed"]:
            answer = ask(envoy, other, [origin], b"", "OPTIONS")
            assert answer.status == 401
            assert not answer.all("webhook-allowed-origin")
        for odd in ["a b", "a\tb", "caf\u00e9", "a" * 1025]:
            answer = ask(envoy, target, [("webhook-request-origin", odd)], b"", "OPTIONS")
            assert answer.status == 405, odd
        kind = ("aeg-event-type", "SubscriptionValidation")
        assert ask(envoy, "/azure-event-grid?token=guessed", [kind], VALIDATION, "POST").status == 401
    event = json.dumps({"specversion": "1.0", "type": "x", "source": "y", "id": "1"}).encode()
    answer = ask(envoy, target, [origin, ("content-type", "application/cloudevents+json")], event, "POST")
    assert (answer.status, answer.body) == (200, b"hello")


def test_asana_gets_its_secret_back(envoy, upstream):
    ask_back = ("x-hook-secret", "b537207f20cbfa02357cf448134da559")
    with upstream.nothing():
        answer = ask(envoy, "/asana", [ask_back], b"", "POST")
        assert (answer.status, answer.all("x-hook-secret")) == (200, [ask_back[1]])
        forged = [ask_back, ("x-hook-signature", "00" * 32)]
        answer = ask(envoy, "/asana", forged, b"{}", "POST")
        assert (answer.status, answer.all("x-hook-secret")) == (401, [])
    delivery = [ask_back, ("x-hook-signature", sign.mac(SECRET.encode(), b"{}").hex())]
    answer = ask(envoy, "/asana", delivery, b"{}", "POST")
    assert (answer.status, answer.body) == (200, b"hello")
    assert ask_back[1] not in envoy.log()


def test_a_mac_for_linkedin_signs_no_delivery(envoy, upstream):
    """Any client gets the MAC of a text that it chooses, also of one that begins as LinkedIn's signed bytes do."""
    with upstream.nothing():
        for body in [b"", b"42", CODE.encode()]:
            text = "hmacsha256=" + body.decode()
            answer = ask(envoy, f"/linkedin?challengeCode={text}")
            given = json.loads(answer.body)["challengeResponse"]
            assert given == sign.mac(LINKEDIN_SECRET.encode(), text.encode()).hex()
            forged = ask(envoy, "/linkedin", [("x-li-signature", given)], body, "POST")
            assert forged.status == 401
    body = b'{"notificationId":124}'
    signature = sign.mac(LINKEDIN_SECRET.encode(), b"hmacsha256=" + body).hex()
    answer = ask(envoy, "/linkedin", [("x-li-signature", signature)], body, "POST")
    assert (answer.status, answer.body) == (200, b"hello")


XERO_TEST = b'{"events":[],"lastEventSequence": 0,"firstEventSequence": 0,"entropy": "S0m3r4Nd0mt3xt"}'


def xero(secret: str) -> list:
    signature = sign.base64.b64encode(sign.mac(secret.encode(), XERO_TEST)).decode()
    return [("content-type", "application/json; charset=utf-8"), ("x-xero-signature", signature)]


@pytest.mark.parametrize(
    "headers, method, status",
    [(xero("another"), "POST", 401), ([], "POST", 401), (xero(SECRET)[1:] * 2, "POST", 401), ([], "GET", 405)],
)
def test_xero_gets_rejections_without_a_body(headers, method, status, envoy, upstream):
    """The answers to its "intent to receive": without a body, a type and cookies."""
    with upstream.nothing():
        answer = ask(envoy, "/xero", headers, XERO_TEST, method)
    assert (answer.status, answer.body) == (status, b"")
    assert answer.all("content-length") == ["0"]
    assert not answer.all("content-type") + answer.all("set-cookie")


def test_xero_gets_its_200(envoy):
    assert ask(envoy, "/xero", xero(SECRET), XERO_TEST, "POST").status == 200
    # Other senders get the usual body.
    assert ask(envoy, "/woocommerce", [], b"{}", "POST").body == b"Invalid signature"


@pytest.mark.parametrize(
    "kind, length", [("application/json", 1000), (FORM[1], 16 * 1024 + 1), ("text/plain", 1 << 20)]
)
def test_a_body_that_cannot_be_a_handshake_is_not_held(kind, length, envoy, upstream):
    """The client sends only a part of the body, and gets the answer."""
    headers = [("content-type", kind), ("content-length", str(length))]
    with client.Client(envoy.port) as connection, upstream.nothing():
        assert connection.ask(client.head("/slack", headers) + b"x" * 500).status == 401


def test_a_body_of_unknown_length_is_held_while_it_may_be_a_handshake(envoy, upstream):
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    head = client.head("/slack", [FORM, ("transfer-encoding", "chunked")])
    with client.Client(envoy.port) as connection, upstream.nothing():
        assert connection.ask(head, chunk, chunk).status == 401
