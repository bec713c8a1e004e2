"""Every row of the verdict table: status, text, details, filter state, log line, counter."""

from __future__ import annotations

import time

import pytest

from harness import client, sign
from harness.envoy import SECRET
from harness.full_config import COMING, LEAKED, NEW, OLD, PRESETS, endpoint, signed
from harness.http1 import Closed
from harness.http2_client import Http2Client
from harness.polling import until
from harness.verdict import ANSWERS, assert_answer, later, verdict

BODY = b'{"order": 42}'
NOW = int(time.time())


def post(path, headers=(), body=BODY, method="POST"):
    return client.request(path, headers, body, method)


def slack(**changed):
    """A Slack request with some headers replaced, or removed if the value is None."""
    headers = dict(sign.slack(PRESETS["slack"][0], BODY))
    headers.update({f"X-Slack-{name.replace('_', '-')}": value for name, value in changed.items()})
    return post("/hooks/slack", [(name, value) for name, value in headers.items() if value is not None])


def slack_at(at: int):
    return post("/hooks/slack", sign.slack(PRESETS["slack"][0], BODY, at))


def rotated(secret: str):
    return post("/rotated", signed(BODY, secret))


GOOD = signed(BODY)
UPGRADE = [("connection", "upgrade"), ("upgrade", "websocket")]
# Request, endpoint, reason.
DENIED = {
    "no endpoint": (post("/other", GOOD), "-", "unmatched"),
    "another host": (client.request("/hosted", [("host", "other.test"), *GOOD], BODY), "-", "unmatched"),
    "encoded slash": (post("/hooks%2fgithub", GOOD), "-", "path_ambiguous"),
    "disabled": (post("/off", GOOD), "off", "endpoint_disabled"),
    "upgrade": (client.head("/any", [*UPGRADE, *signed(b"")], "GET"), "any", "upgrade_refused"),
    "address": (post("/elsewhere", GOOD), "elsewhere", "client_address_denied"),
    "address not forwarded": (post("/forwarded", GOOD), "forwarded", "client_address_untrusted"),
    "method": (post("/webhook", GOOD, method="PUT"), "orders", "method_not_allowed"),
    "query": (post("/webhook?a=1&c=2", GOOD), "orders", "query_not_signed"),
    "content-length": (client.head("/small", [*GOOD, ("content-length", "1001")]), "small", "body_too_large"),
    "running size": (
        b"".join(client.chunked("/small", signed(b"x" * 1001), [b"x" * 1000, b"x"])),
        "small",
        "body_too_large",
    ),
    "no signature": (post("/webhook"), "orders", "signature_missing"),
    "no hex": (post("/webhook", [("X-Webhook-Signature", "zz" * 32)]), "orders", "signature_malformed"),
    "half a signature": (
        post("/webhook", [("X-Webhook-Signature", GOOD[0][1][:32])]),
        "orders",
        "signature_malformed",
    ),
    "an empty signature": (post("/webhook", [("X-Webhook-Signature", "")]), "orders", "signature_malformed"),
    "two signatures": (post("/webhook", GOOD * 2), "orders", "signature_duplicated"),
    "another body": (post("/webhook", GOOD, BODY + b" "), "orders", "signature_invalid"),
    "another secret": (post("/webhook", signed(BODY, "not the secret")), "orders", "signature_invalid"),
    "an empty secret": (post("/webhook", signed(BODY, "")), "orders", "signature_invalid"),
    "the secret `-`": (post("/webhook", signed(BODY, "-")), "orders", "signature_invalid"),
    "no timestamp": (slack(Request_Timestamp=None), "slack", "timestamp_missing"),
    "no number": (slack(Request_Timestamp="1e9"), "slack", "timestamp_malformed"),
    "old": (slack_at(NOW - 600), "slack", "timestamp_expired"),
    "from the future": (slack_at(NOW + 86_400), "slack", "timestamp_future"),
    "revoked": (rotated(LEAKED), "rotated", "secret_revoked"),
    "expired": (rotated(OLD), "rotated", "secret_expired"),
    "not yet valid": (rotated(COMING), "rotated", "secret_not_yet_valid"),
    "none of the versions": (rotated("no version of it"), "rotated", "signature_invalid"),
}


@pytest.mark.parametrize("case", DENIED)
def test_a_denial(case, envoy, upstream):
    request, endpoint_name, reason = DENIED[case]
    with verdict(envoy, endpoint_name, "denied", reason) as seen, upstream.nothing():
        response = client.ask(envoy.port, request)
    assert_answer(response, reason)
    assert response.names("x-webhook-guard-") == []
    if reason == "method_not_allowed":
        assert response.get("allow") == "POST"
    version = {"secret_revoked": "leaked", "secret_expired": "old", "secret_not_yet_valid": "coming"}
    assert seen["line"].get("secret_version") == version.get(reason)


def test_a_denial_looks_the_same_for_every_fault_of_a_signature(envoy):
    """All get the same answer, so that an attacker learns nothing from it."""
    answers = set()
    for request, _, reason in DENIED.values():
        if ANSWERS[reason][0] == 401:
            response = client.ask(envoy.port, request)
            answers.add((response.start, response.body, tuple(sorted(dict(response.headers)))))
    names = {tuple(name for name in names if name != b"connection") for *_, names in answers}
    assert len({answer[:2] for answer in answers}) == 1
    assert len(names) == 1


def test_acceptance(envoy, upstream):
    before = len(upstream.requests)
    with verdict(envoy, "orders", "accepted", "accepted") as seen:
        response = client.post(envoy.port, "/webhook?a=b", GOOD, BODY)
    assert (response.status, response.body) == (200, b"hello")
    assert response.names("x-webhook-guard-") == []
    assert upstream.next(before).body == BODY
    line = seen["line"]
    assert (line["client"], line["secret_version"], line["body_bytes"]) == ("127.0.0.1", "v1", len(BODY))
    assert not {"status", "delivery_id", "suppressed"} & set(line)


def test_a_signed_id_is_reported(envoy):
    secret, _ = PRESETS["svix"]
    with verdict(envoy, "svix", "accepted", "accepted") as seen:
        client.post(envoy.port, "/hooks/svix", sign.svix(secret, BODY, identity="msg_abc"), BODY)
    assert seen["line"]["delivery_id"] == "msg_abc"


def test_the_version_that_verified_is_counted_and_reported(envoy, upstream):
    uses = envoy.secret_uses("rotated", "new")
    leaks = envoy.secret_uses("rotated", "leaked")
    before = len(upstream.requests)
    assert client.ask(envoy.port, rotated(NEW)).status == 200
    assert upstream.next(before).get("x-webhook-guard-secret-version") == "new"
    assert client.ask(envoy.port, rotated(LEAKED)).status == 401
    until(lambda: envoy.secret_uses("rotated", "leaked") == leaks + 1)
    assert envoy.secret_uses("rotated", "new") == uses + 1


@pytest.mark.parametrize(
    "path",
    [
        "//webhook",
        "/a//webhook",
        "/./webhook",
        "/a/../webhook",
        "/a/..",
        "/%2e%2e/webhook",
        "/a/%2E/webhook",
        "/webhook%2f",
        "/hooks%2Fgithub",
        "/hooks%5Cgithub",
        "/hooks\\github",
        "/webhook%00",
        "/webhook%0a",
        "/webhook%7f",
        "/webhook%c0%af",
        "/%252e%252e/webhook",
        "/hooks%252fgithub",
        "/a/..;x/webhook",
    ],
)
def test_an_ambiguous_path(path, envoy, upstream):
    with verdict(envoy, "-", "denied", "path_ambiguous"), upstream.nothing():
        assert_answer(client.post(envoy.port, path, GOOD, BODY), "path_ambiguous")


@pytest.mark.parametrize("path", [b"/webhook#x", b"/web\x7fhook", b"/webhook\xe9", b"webhook"])
def test_an_invalid_path_is_refused(path, envoy, upstream):
    """Envoy refuses some of them, and the guard the others."""
    with upstream.nothing():
        assert client.post(envoy.port, path, GOOD, BODY).status in (400, 404)


@pytest.mark.parametrize("path", ["/webhook?a=//b/../c%2f", "/hooks/acme/caf%C3%A9", "/hooks/acme/a.b"])
def test_a_path_that_is_not_ambiguous(path, envoy):
    response = client.post(envoy.port, path, GOOD, BODY)
    assert response.status == (200 if path.startswith("/webhook") else 401)


def test_the_order_of_the_reasons(envoy):
    """The first check that fails gives the reason. Each request also fails all checks of the rows after it."""
    stale = sign.slack("not the secret", BODY, NOW - 600)
    for request, name, reason in [
        (client.head("/off", UPGRADE, "PUT"), "off", "endpoint_disabled"),
        (client.head("/elsewhere", UPGRADE, "PUT"), "elsewhere", "upgrade_refused"),
        (post("/elsewhere", method="PUT"), "elsewhere", "client_address_denied"),
        (client.head("/small", [("content-length", "1001")], "PUT"), "small", "method_not_allowed"),
        (client.head("/small", [("content-length", "1001")]), "small", "body_too_large"),
        (post("/hooks/slack", stale[:1]), "slack", "signature_missing"),
        (post("/hooks/slack", stale), "slack", "timestamp_expired"),
    ]:
        with verdict(envoy, name, "denied", reason):
            client.ask(envoy.port, request)


def test_a_request_that_ends_before_its_verdict(envoy, upstream):
    with verdict(envoy, "orders", "denied", "incomplete"), upstream.nothing():
        with client.Client(envoy.port) as connection:
            connection.send(client.head("/webhook", [*GOOD, ("content-length", "100")]), b"half")
            time.sleep(0.2)


@pytest.mark.parametrize("name", ["unset", "unset-watched"])
def test_a_missing_filter_state_is_a_denial(name, envoy, upstream):
    """A filter state that no filter sets, for the client's address; in monitor mode too."""
    with verdict(envoy, name, "denied", "host_error"), upstream.nothing():
        assert_answer(client.post(envoy.port, f"/{name}", GOOD, BODY), "host_error")


def test_connect(start, upstream):
    def patch(document):
        document.manager["upgrade_configs"] = [{"upgrade_type": "CONNECT"}]
        route = {"match": {"connect_matcher": {}}, "route": {"cluster": "upstream"}}
        document.virtual_host["routes"].insert(0, route)

    for unmatched in ("deny", {"pass": ["/"]}):
        configuration = {"unmatched": unmatched, "endpoints": [endpoint("orders")]}
        envoy = start(upstream, configuration, patch=patch)
        with verdict(envoy, "-", "denied", "upgrade_refused"), upstream.nothing():
            response = client.ask(envoy.port, client.head("hooks.test:80", method="CONNECT"))
        assert response.status == 400


def test_a_flood_of_denials_does_not_flood_the_log(start, upstream):
    envoy = start(upstream, {"endpoints": [endpoint("orders")]})
    with client.Client(envoy.port) as connection:
        for _ in range(400):
            assert connection.ask(post("/orders", signed(BODY, "wrong"))).status == 401
        time.sleep(0.3)
        connection.ask(post("/orders", signed(BODY, "wrong")))
    assert envoy.count("orders", "denied", "signature_invalid") == 401
    lines = envoy.guard_lines()
    # The limit rises with time, and a slow machine needs more of it.
    assert 100 <= len(lines) < 300
    assert sum(line.get("suppressed", 0) for line in lines) == 401 - len(lines)


def test_a_flood_of_forgeries_hides_no_use_of_a_leaked_secret(start, upstream):
    """An attacker with the leaked secret must not be able to suppress the log line."""
    leaked = {"version": "leaked", "value": LEAKED, "revoked": True}
    secrets = {"version": "v1", "value": NEW}, leaked
    envoy = start(upstream, {"environment": "test", "endpoints": [endpoint("orders", *secrets)]})
    with client.Client(envoy.port) as connection:
        for _ in range(400):
            assert connection.ask(post("/orders", signed(BODY, "wrong"))).status == 401
        for _ in range(5):
            assert connection.ask(post("/orders", signed(BODY, LEAKED))).status == 401
    reasons = [line["reason"] for line in envoy.guard_lines()]
    assert reasons.count("signature_invalid") < 200
    assert reasons.count("secret_revoked") == 5


def test_counters_exist_before_the_first_request(start, upstream):
    """A rate then includes the first event. The labels are those that Prometheus shows."""
    envoy = start(upstream, {"endpoints": [endpoint("orders")]})
    metrics = envoy.prometheus()
    labels = 'endpoint="orders",verdict="denied",reason="signature_invalid"'
    assert f"\nwebhook_guard_requests_total{{{labels}}} 0\n" in metrics
    assert '\nwebhook_guard_secret_uses_total{endpoint="orders",version="v1"} 0\n' in metrics
    client.ask(envoy.port, post("/orders", signed(BODY)))
    client.ask(envoy.port, post("/other", signed(BODY)))
    until(lambda: envoy.count("-", "denied", "unmatched") == 1)
    metrics = envoy.prometheus()
    assert '\nwebhook_guard_requests_total{endpoint="-",verdict="denied",reason="unmatched"} 1\n' in metrics
    assert '\nwebhook_guard_secret_uses_total{endpoint="orders",version="v1"} 1\n' in metrics


def test_the_secret_of_the_tests_is_the_one_in_use(envoy):
    assert envoy.env["WEBHOOK_SECRET"] == SECRET


GRPC = ("content-type", "application/grpc+json")


@pytest.mark.parametrize(
    "path, reason",
    [
        ("/webhook", "signature_missing"),
        ("//webhook", "path_ambiguous"),
        ("/other", "unmatched"),
        ("/off", "endpoint_disabled"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_denied_grpc_call_does_not_look_like_a_success(path, reason, version, envoy, upstream):
    """Envoy would answer a gRPC call with 200, and put the failure into a header of its own. So the guard resets the call."""
    start = later()
    with upstream.nothing():
        if version == 1:
            with pytest.raises(Closed):
                client.post(envoy.port, path, [GRPC], BODY)
        else:
            with Http2Client(envoy.port) as connection:
                assert connection.ask(path, [GRPC], BODY) == (None, b"")
    lines = until(lambda: envoy.access_lines(start), what="the access log")
    assert [(line["status"], line["reason"]) for line in lines] == [(0, reason)]


def test_a_signed_grpc_call_is_accepted(envoy):
    assert client.post(envoy.port, "/webhook", [GRPC, *GOOD], BODY).status == 200
