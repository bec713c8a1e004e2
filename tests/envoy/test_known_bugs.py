"""Bugs of other verifiers that only a real Envoy shows. tests/core/README.md has the whole list."""

from __future__ import annotations

import urllib.request

import pytest

from harness import client
from harness.full_config import PRESETS, endpoint, signed
from harness.verdict import verdict

BODY = b'{"order": 42}'


@pytest.fixture
def verbose(start, upstream):
    """An Envoy whose guard logs at the level trace."""
    envoy = start(upstream, {"endpoints": [endpoint("orders"), endpoint("elsewhere", allow=["192.0.2.0/24"])]})
    urllib.request.urlopen(f"http://127.0.0.1:{envoy.admin}/logging?wasm=trace", data=b"", timeout=30)
    return envoy


def test_no_line_holds_the_expected_signature(verbose):
    """A reader of the log could otherwise send a forged request."""
    ((_, right),) = signed(BODY)
    for headers in (signed(BODY, "forged"), [], [("X-Webhook-Signature", "nonsense")], signed(BODY + b"x")):
        with verdict(verbose, "orders", "denied", reason(headers)):
            response = client.post(verbose.port, "/orders", headers, BODY)
        assert right not in str(response)
    logged = verbose.log() + str(verbose.access_lines())
    assert "signature_invalid" in logged
    for text in (right, right.upper(), right[:16], *verbose.secrets()):
        assert text not in logged


def reason(headers) -> str:
    if not headers:
        return "signature_missing"
    return "signature_malformed" if headers[0][1] == "nonsense" else "signature_invalid"


def test_a_rejected_address_is_in_the_log_line(verbose):
    with verdict(verbose, "elsewhere", "denied", "client_address_denied") as seen:
        client.post(verbose.port, "/elsewhere", signed(BODY), BODY, source="127.0.0.9")
    assert seen["line"]["client"] == "127.0.0.9"


@pytest.mark.parametrize("name", PRESETS)
def test_a_form_without_a_body_is_verified(name, envoy, upstream):
    """The headers end the request, so Envoy makes no body callback."""
    headers = [("content-type", "application/x-www-form-urlencoded")]
    for request in (
        client.request(f"/hooks/{name}", headers, b""),
        client.head(f"/hooks/{name}", headers),
        b"".join(client.chunked(f"/hooks/{name}", headers)),
    ):
        with verdict(envoy, name, "denied", "signature_missing"), upstream.nothing():
            assert client.ask(envoy.port, request).status == 401
