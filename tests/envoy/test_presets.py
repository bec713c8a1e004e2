"""The presets and an own scheme end to end, and header values that are not text."""

from __future__ import annotations

import time

import pytest

from harness import client, sign
from harness.full_config import PRESETS, SECRET, signed
from harness.verdict import verdict

BODY = '{"id": "evt_1", "text": "h\u00e9llo \u2713"}'.encode()
TIMED = ["slack", "standard-webhooks", "stripe", "svix"]
SIGNATURE = {
    "github": "X-Hub-Signature-256",
    "shopify": "X-Shopify-Hmac-Sha256",
    "slack": "X-Slack-Signature",
    "standard-webhooks": "webhook-signature",
    "stripe": "Stripe-Signature",
    "svix": "svix-signature",
}
TIMESTAMP = {
    "slack": "X-Slack-Request-Timestamp",
    "standard-webhooks": "webhook-timestamp",
    "svix": "svix-timestamp",
}
IDENTITY = {"standard-webhooks": "webhook-id", "svix": "svix-id"}


def headers_of(name: str, body: bytes = BODY, **more) -> dict:
    secret, signer = PRESETS[name]
    return dict(signer(secret, body, **more))


def check(envoy, upstream, name, headers, reason, body=BODY) -> None:
    """Sends to the preset's endpoint; nothing of a denied request arrives."""
    items = headers.items() if isinstance(headers, dict) else headers
    request = client.request(f"/hooks/{name}", list(items), body)
    if reason == "accepted":
        before = len(upstream.requests)
        with verdict(envoy, name, "accepted", "accepted"):
            assert client.ask(envoy.port, request).status == 200
        assert upstream.next(before).body == body
        return
    with verdict(envoy, name, "denied", reason), upstream.nothing():
        assert client.ask(envoy.port, request).status == 401


@pytest.mark.parametrize("name", PRESETS)
class TestPreset:
    def test_a_fresh_signature(self, name, envoy, upstream):
        check(envoy, upstream, name, headers_of(name), "accepted")
        check(envoy, upstream, name, headers_of(name, b""), "accepted", b"")

    def test_header_names_in_any_case(self, name, envoy, upstream):
        headers = [(key.upper(), value) for key, value in headers_of(name).items()]
        check(envoy, upstream, name, headers, "accepted")

    def test_another_body(self, name, envoy, upstream):
        for body in (BODY + b" ", BODY[:-1], BODY.replace(b"evt_1", b"evt_2"), b""):
            check(envoy, upstream, name, headers_of(name), "signature_invalid", body)

    def test_another_secret(self, name, envoy, upstream):
        _, signer = PRESETS[name]
        other = "whsec_c29tZSBvdGhlciBzZWNyZXQsIGFsc28gbG9uZw=="
        check(envoy, upstream, name, dict(signer(other, BODY)), "signature_invalid")

    def test_no_signature(self, name, envoy, upstream):
        headers = headers_of(name)
        del headers[SIGNATURE[name]]
        check(envoy, upstream, name, headers, "signature_missing")

    def test_two_signature_headers(self, name, envoy, upstream):
        headers = headers_of(name)
        for other in (headers[SIGNATURE[name]], "v1,forged"):
            doubled = [*headers.items(), (SIGNATURE[name], other)]
            check(envoy, upstream, name, doubled, "signature_duplicated")
            check(envoy, upstream, name, doubled[::-1], "signature_duplicated")

    @pytest.mark.parametrize("value", [b"\xff\xfe", b"caf\xe9", b"", b"v1", b"sha256=", b"x" * 9000])
    def test_a_value_without_a_signature_is_rejected(self, name, value, envoy, upstream):
        headers = {**headers_of(name), SIGNATURE[name]: value}
        check(envoy, upstream, name, headers, "signature_malformed")

    def test_a_signature_cut_short(self, name, envoy, upstream):
        """A signature of any other length is malformed, a prefix too."""
        headers = headers_of(name)
        whole = headers[SIGNATURE[name]].rstrip("=")
        for cut in (whole[:-1], whole[:-2], whole[:-4], whole[:-40] + "=", whole + "00"):
            check(envoy, upstream, name, {**headers, SIGNATURE[name]: cut}, "signature_malformed")


@pytest.mark.parametrize("name", TIMED)
class TestTimestamp:
    def test_within_the_tolerance(self, name, envoy, upstream):
        for off in (-290, 290):
            headers = headers_of(name, at=int(time.time()) + off)
            check(envoy, upstream, name, headers, "accepted")

    def test_stale(self, name, envoy, upstream):
        for age in (303, 86_400, 10**9):
            headers = headers_of(name, at=int(time.time()) - age)
            check(envoy, upstream, name, headers, "timestamp_expired")

    def test_from_the_future(self, name, envoy, upstream):
        for ahead in (305, 86_400, 10**12):
            headers = headers_of(name, at=int(time.time()) + ahead)
            check(envoy, upstream, name, headers, "timestamp_future")

    def test_another_timestamp_than_the_signed_one(self, name, envoy, upstream):
        now = int(time.time())
        headers = headers_of(name, at=now)
        text = str(now)
        changed = {key: value.replace(text, str(now + 1)) for key, value in headers.items()}
        check(envoy, upstream, name, changed, "signature_invalid")

    @pytest.mark.parametrize("text", ["", "+1", "1e9", "0x5f", "now", "\u0661", "9" * 30, "-1", "1.5"])
    def test_no_number(self, name, text, envoy, upstream):
        headers = headers_of(name, at=int(time.time()))
        sent = text.encode()
        if name in TIMESTAMP:
            headers[TIMESTAMP[name]] = sent
        else:
            value = headers[SIGNATURE[name]].encode()
            headers[SIGNATURE[name]] = b"t=" + sent + value[value.index(b",") :]
        check(envoy, upstream, name, headers, "timestamp_malformed")

    def test_none(self, name, envoy, upstream):
        headers = headers_of(name)
        if name in TIMESTAMP:
            del headers[TIMESTAMP[name]]
        else:
            value = headers[SIGNATURE[name]]
            headers[SIGNATURE[name]] = value[value.index(",") + 1 :]
        check(envoy, upstream, name, headers, "timestamp_missing")

    def test_two(self, name, envoy, upstream):
        headers = list(headers_of(name).items())
        now = str(int(time.time()))
        if name in TIMESTAMP:
            headers += [(TIMESTAMP[name], now)]
        else:
            headers = [(key, f"{value},t={now}") for key, value in headers]
        check(envoy, upstream, name, headers, "timestamp_malformed")


@pytest.mark.parametrize("name", IDENTITY)
class TestIdentity:
    def test_none(self, name, envoy, upstream):
        headers = headers_of(name)
        del headers[IDENTITY[name]]
        check(envoy, upstream, name, headers, "signature_missing")

    def test_two(self, name, envoy, upstream):
        headers = [*headers_of(name).items(), (IDENTITY[name], "msg_2")]
        check(envoy, upstream, name, headers, "signature_duplicated")

    def test_another_than_the_signed_one(self, name, envoy, upstream):
        for other in ("msg_2", "", b"\xff"):
            headers = {**headers_of(name), IDENTITY[name]: other}
            check(envoy, upstream, name, headers, "signature_invalid")


class TestSeveralSignatures:
    """While a sender rotates its secret, one header carries a signature for each secret."""

    def test_any_may_match(self, envoy, upstream):
        for name, separator in (("stripe", ","), ("svix", " "), ("standard-webhooks", " ")):
            headers = headers_of(name)
            value = headers[SIGNATURE[name]]
            item = value.split(separator)[-1]
            other = item[:-8] + ("A" * 7 + "=" if item.endswith("=") else "0" * 8)
            for added in (f"{value}{separator}{other}", f"{other}{separator}{value}"):
                check(envoy, upstream, name, {**headers, SIGNATURE[name]: added}, "accepted")

    def test_other_schemes_of_the_sender_are_ignored(self, envoy, upstream):
        stripe = headers_of("stripe")
        value = stripe["Stripe-Signature"]
        check(envoy, upstream, "stripe", {"Stripe-Signature": value + ",v0=abc"}, "accepted")
        only_v0 = {"Stripe-Signature": value.replace("v1=", "v0=")}
        check(envoy, upstream, "stripe", only_v0, "signature_malformed")
        svix = headers_of("svix")
        svix["svix-signature"] = "v1a,abc " + svix["svix-signature"]
        check(envoy, upstream, "svix", svix, "accepted")

    def test_sixteen_but_not_more(self, envoy, upstream):
        headers = headers_of("svix")
        value = headers["svix-signature"]
        other = "v1," + "A" * 43 + "="
        for count, reason in ((15, "accepted"), (16, "signature_malformed")):
            headers["svix-signature"] = " ".join([other] * count + [value])
            check(envoy, upstream, "svix", headers, reason)


class TestHex:
    def test_in_either_case(self, envoy, upstream):
        [(name, value)] = signed(BODY)
        before = len(upstream.requests)
        assert client.post(envoy.port, "/webhook", [(name, value.upper())], BODY).status == 200
        assert upstream.next(before).body == BODY

    def test_base64_with_stray_bits_is_malformed(self, envoy, upstream):
        headers = headers_of("shopify")
        value = headers["X-Shopify-Hmac-Sha256"]
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        last = value[-2]
        headers["X-Shopify-Hmac-Sha256"] = value[:-2] + alphabet[alphabet.index(last) + 1] + "="
        check(envoy, upstream, "shopify", headers, "signature_malformed")


class TestOwnScheme:
    """A `signature` block that a user wrote, on a prefix."""

    def headers(self, at: int | None = None, identity: str = "id-1") -> list:
        at_text = sign.stamp(at)
        value = sign.mac(b"secret-of-acme-corp", identity.encode(), b".", at_text, b".", BODY).hex()
        return [("X-Acme-Signature", f" t={at_text.decode()} , v1={value} , x=y"), ("X-Acme-Id", identity)]

    def test_it_verifies(self, envoy, upstream):
        before = len(upstream.requests)
        with verdict(envoy, "acme", "accepted", "accepted") as seen:
            path = "/hooks/acme/orders/eu?x=y"
            assert client.post(envoy.port, path, self.headers(), BODY).status == 200
        assert upstream.next(before).path == path
        assert seen["line"]["delivery_id"] == "id-1"

    def test_its_own_tolerance(self, envoy):
        for off, reason in ((-245, "timestamp_expired"), (150, "timestamp_future")):
            headers = self.headers(int(time.time()) + off)
            with verdict(envoy, "acme", "denied", reason):
                client.post(envoy.port, "/hooks/acme/", headers, BODY)
        for off in (-150, 100):
            headers = self.headers(int(time.time()) + off)
            with verdict(envoy, "acme", "accepted", "accepted"):
                client.post(envoy.port, "/hooks/acme/", headers, BODY)

    def test_a_prefix_ends_at_a_slash(self, envoy, upstream):
        for path in ("/hooks/acme", "/hooks/acmee/", "/hooks/acm"):
            with upstream.nothing():
                assert client.post(envoy.port, path, self.headers(), BODY).status == 404


@pytest.mark.parametrize("name", [b"x-\xe9", b"x-custom", b"cookie", b"user-agent", b"x-webhook-guard-\xff"])
def test_headers_that_are_not_text_do_no_harm(name, envoy, upstream):
    """Envoy may reject them itself. The guard still accepts the next request."""
    for value in (b"\xff\xfe\xfd", b"caf\xe9", b"\x80"):
        status = client.post(envoy.port, "/webhook", [(name, value), *signed(BODY)], BODY).status
        assert status in (200, 400)
        assert client.post(envoy.port, "/webhook", [(name, value)], BODY).status in (400, 401)
    assert client.post(envoy.port, "/webhook", signed(BODY, SECRET), BODY).status == 200
