"""Values that a sender may leave out of a delivery, in a real Envoy: absent, null, empty and of other types."""

from __future__ import annotations

import base64
import itertools
import json
import time

import pytest

from harness import client
from harness.envoy import Envoy
from harness.sign import mac
from harness.verdict import verdict

ADYEN_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
MERCADO_SECRET = "a secret of Mercado Pago's notifications"
REPORT = {
    "amount": {"currency": "EUR", "value": 0},
    "eventCode": "REPORT_AVAILABLE",
    "merchantAccountCode": "ACC",
    "pspReference": "report.csv",
    "success": "true",
}


@pytest.fixture(scope="module")
def envoy(upstream):
    adyen = {"provider": "adyen-payments", "secrets": [{"version": "v1", "value": ADYEN_KEY}]}
    mercado = {"provider": "mercado-pago", "secrets": [{"version": "v1", "value": MERCADO_SECRET}]}
    message = "{body}|{header:X-A?a:*;}{header:X-B?b:*;}"
    parts = {"signature": {"header": "X-Sig", "message": message}, "secrets": mercado["secrets"]}
    named = {"adyen": adyen, "mercado": mercado, "parts": parts}
    endpoints = [{"name": name, "match": {"path": f"/{name}"}, **fields} for name, fields in named.items()]
    with Envoy(upstream.port, {"environment": "test", "endpoints": endpoints}, patch=no_request_ids) as running:
        yield running


def no_request_ids(document) -> None:
    """Leaves a request without an x-request-id as it is."""
    document.manager["generate_request_id"] = False


def adyen(item: dict, signed: str) -> bytes:
    """A notification with this item, whose signature is that of the text."""
    code = base64.b64encode(mac(bytes.fromhex(ADYEN_KEY), signed.encode())).decode()
    item = {"additionalData": {"hmacSignature": code}, **item}
    return json.dumps({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}).encode()


def check(envoy, upstream, name: str, body: bytes, reason: str, headers=(), path: str | None = None) -> None:
    """Sends a request. The upstream receives the body of an accepted one, and nothing of another."""
    path = path or f"/{name}"
    if reason == "accepted":
        before = len(upstream.requests)
        with verdict(envoy, name, "accepted", reason):
            assert client.post(envoy.port, path, list(headers), body).status == 200
        assert upstream.next(before).body == body
        return
    with verdict(envoy, name, "denied", reason), upstream.nothing():
        assert client.post(envoy.port, path, list(headers), body).status == 401


class TestAdyen:
    """Adyen's package joins the eight values by colons, and writes nothing for a value that is absent or null."""

    @pytest.mark.parametrize(
        "fields, signed",
        [
            ({}, "report.csv::ACC::0:EUR:REPORT_AVAILABLE:true"),
            ({"merchantReference": None}, "report.csv::ACC::0:EUR:REPORT_AVAILABLE:true"),
            ({"merchantReference": ""}, "report.csv::ACC::0:EUR:REPORT_AVAILABLE:true"),
            ({"merchantReference": "r"}, "report.csv::ACC:r:0:EUR:REPORT_AVAILABLE:true"),
            ({"merchantReference": 7}, "report.csv::ACC:7:0:EUR:REPORT_AVAILABLE:true"),
            ({"success": True}, "report.csv::ACC::0:EUR:REPORT_AVAILABLE:true"),
            ({"success": False}, "report.csv::ACC::0:EUR:REPORT_AVAILABLE:false"),
            ({"success": None}, "report.csv::ACC::0:EUR:REPORT_AVAILABLE:"),
            ({"amount": {"currency": None}}, "report.csv::ACC::::REPORT_AVAILABLE:true"),
            ({"pspReference": None}, "::ACC::0:EUR:REPORT_AVAILABLE:true"),
        ],
    )
    def test_a_value_is_signed_as_its_text(self, fields, signed, envoy, upstream):
        check(envoy, upstream, "adyen", adyen({**REPORT, **fields}, signed), "accepted")

    def test_a_value_that_was_left_out_cannot_be_filled(self, envoy, upstream):
        signed = "report.csv::ACC::0:EUR:REPORT_AVAILABLE:true"
        for value, reason in (("order-1", "signature_invalid"), (["order-1"], "signature_duplicated")):
            body = adyen({**REPORT, "merchantReference": value}, signed)
            check(envoy, upstream, "adyen", body, reason)


# The query and the request's id of a notification, and the text that Mercado Pago's package signs for them.
MERCADO = [
    ("?data.id=42&type=payment", "r-1", "id:42;request-id:r-1;ts:{ts};"),
    ("?type=payment", "r-1", "request-id:r-1;ts:{ts};"),
    ("?data.id=&type=payment", "r-1", "request-id:r-1;ts:{ts};"),
    ("?data.id=42&type=payment", None, "id:42;ts:{ts};"),
    ("?type=payment", None, "ts:{ts};"),
]
CLOCK = itertools.count(int(time.time()) - 100)


def mercado(request_id: str | None, text: str) -> list:
    """The headers of a notification, whose signature is that of the text at a time of its own."""
    at = next(CLOCK)
    code = mac(MERCADO_SECRET.encode(), text.format(ts=at).encode()).hex()
    named = [("x-request-id", request_id)] if request_id else []
    return [*named, ("x-signature", f"ts={at},v1={code}")]


class TestMercadoPago:
    """Mercado Pago's package leaves out of the signed text what a notification lacks."""

    @pytest.mark.parametrize("query, request_id, text", MERCADO)
    def test_what_a_notification_lacks_is_not_signed(self, query, request_id, text, envoy, upstream):
        headers = mercado(request_id, text)
        check(envoy, upstream, "mercado", b"{}", "accepted", headers, f"/mercado{query}")

    @pytest.mark.parametrize("query, request_id, text", MERCADO)
    def test_nothing_can_be_added_or_left_out(self, query, request_id, text, envoy, upstream):
        for other in {other for _, _, other in MERCADO} - {text}:
            headers = mercado(request_id, other)
            check(envoy, upstream, "mercado", b"{}", "signature_invalid", headers, f"/mercado{query}")

    def test_a_value_cannot_move_into_one_that_is_absent(self, envoy, upstream):
        headers = mercado(None, "id:42;request-id:r-1;ts:{ts};")
        path = "/mercado?data.id=42%3Brequest-id:r-1"
        check(envoy, upstream, "mercado", b"{}", "signature_malformed", headers, path)


class TestOwnScheme:
    """A scheme of a user, in which parts after the body may be absent."""

    @pytest.mark.parametrize(
        "body, headers, signed, reason",
        [
            (b"1", [("x-a", "2"), ("x-b", "3")], b"1|a:2;b:3;", "accepted"),
            (b"1", [("x-b", "3")], b"1|b:3;", "accepted"),
            (b"1|b:2", [("x-b", "3")], b"1|b:2|b:3;", "accepted"),
            (b"1", [("x-b", "2|b:3")], b"1|b:2|b:3;", "signature_malformed"),
            (b"1", [("x-a", "2"), ("x-b", "3|b:4")], b"1|a:2;b:3|b:4;", "signature_malformed"),
        ],
    )
    def test_a_value_cannot_take_the_end_of_the_body(self, body, headers, signed, reason, envoy, upstream):
        signature = ("x-sig", mac(MERCADO_SECRET.encode(), signed).hex())
        check(envoy, upstream, "parts", body, reason, [*headers, signature])
