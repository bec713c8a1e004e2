"""Values that a sender may leave out of a delivery, in a real Envoy: absent, null, empty and of other types."""

from __future__ import annotations

import base64
import json

import pytest

from harness import client
from harness.envoy import Envoy
from harness.sign import mac
from harness.verdict import verdict

ADYEN_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
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
    endpoints = [{"name": name, "match": {"path": f"/{name}"}, **fields} for name, fields in [("adyen", adyen)]]
    with Envoy(upstream.port, {"environment": "test", "endpoints": endpoints}) as running:
        yield running


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
