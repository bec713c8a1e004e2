"""A rejection that can be diagnosed: the guard's line separates the causes of the runbook, and shows no secret.

Each test provokes one cause of envoy/monitoring/README.md, as senders and proxies really do.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import subprocess
import time

import pytest

from harness import client, sign
from harness.envoy import ROOT, SECRET, Envoy
from harness.full_config import WHSEC, endpoint
from harness.polling import until
from harness.verdict import only

BODY = json.dumps({"order": 42, "customer": {"name": "Zoë"}}, separators=(",", ":")).encode()
JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
OTHER = "the-secret-of-the-test-mode"
OLDER = "the-secret-of-last-month"
TWILIO = "the-auth-token-of-twilio"
PUBLIC_URL = "https://hooks.example.com"
CONFIGURATION = {
    "environment": "development",
    "endpoints": [
        endpoint("orders"),
        endpoint("watched", mode="monitor"),
        endpoint(
            "github",
            {"version": "live", "env": "WEBHOOK_SECRET"},
            {"version": "older", "value": OLDER},
            provider="github",
        ),
        endpoint("stripe", provider="stripe"),
        endpoint("inflated", decompressed=True),
        endpoint("standard", {"version": "v1", "value": WHSEC}, provider="standard-webhooks"),
        endpoint("token", provider="gitlab-token"),
        endpoint("twilio", {"version": "v1", "value": TWILIO}, provider="twilio", public_url=PUBLIC_URL),
        {**endpoint("by-json"), "signature": {"header": "X-Signature", "id": {"json": "/id"}}},
        {
            **endpoint("named", {"version": "v1", "env": "WEBHOOK_SECRET", "key_id": "live"}),
            "signature": {"header": "X-Signature", "key_id": {"header": "X-Key"}},
        },
    ],
}


@pytest.fixture(scope="module")
def envoy(upstream, start_module):
    return start_module(upstream, CONFIGURATION)


def rejected(envoy, path: str, headers, body: bytes = BODY, reason: str = "signature_invalid", **how) -> dict:
    """The guard's line for a request, which is rejected for this reason."""
    before = envoy.log_size()
    client.post(envoy.port, path, headers, body, **how)
    line = only(until(lambda: envoy.guard_lines(before), what="the guard's line"))
    assert line["reason"] == reason, line
    return line


def diagnosis(line: dict) -> dict:
    """The fields of a line that every line does not have."""
    usual = {"event", "endpoint", "verdict", "reason", "status", "duration_ms", "client", "body_bytes", "level"}
    return {name: value for name, value in line.items() if name not in usual}


def test_the_secret_of_another_environment(envoy):
    line = rejected(envoy, "/github", [*sign.github(OTHER, BODY), JSON])
    assert diagnosis(line) == {
        "content_type": "application/json",
        "content_length": len(BODY),
        "signatures": "x-hub-signature-256: sha256=<64 hex>",
        "versions_tried": "live, older",
    }
    assert line["body_bytes"] == len(BODY)


def test_a_body_that_a_gateway_serialised_again(envoy):
    """The line alone does not distinguish this from a wrong secret. The hash of the body can."""
    again = json.dumps(json.loads(BODY)).encode()
    with debug(envoy):
        line = rejected(envoy, "/github", [*sign.github(SECRET, BODY), JSON], again)
    assert line["body_sha256"] == hashlib.sha256(again).hexdigest() != hashlib.sha256(BODY).hexdigest()
    assert line["body_bytes"] == len(again) != len(BODY)


def test_a_body_without_the_line_break_that_was_signed(envoy):
    """As `curl -d @file` sends it."""
    with debug(envoy):
        line = rejected(envoy, "/github", [*sign.github(SECRET, BODY + b"\n"), JSON])
    assert line["body_sha256"] == hashlib.sha256(BODY).hexdigest()
    assert line["body_bytes"] == len(BODY + b"\n") - 1


def test_a_form_where_the_application_expects_json(envoy):
    form = b"payload=%7B%7D"
    line = rejected(envoy, "/github", [*sign.github(OTHER, form), FORM], form)
    assert line["content_type"] == FORM[1]
    line = rejected(envoy, "/by-json", [("X-Signature", "0" * 64), FORM], form)
    assert "hint" not in line, "the signature is checked before the body is parsed"
    signature = [("X-Signature", sign.mac(SECRET.encode(), form).hex())]
    line = rejected(envoy, "/by-json", [*signature, FORM], form, "signature_malformed")
    assert "application/json" in line["hint"]


def test_the_uncompressed_body_is_signed(envoy):
    small = gzip.compress(BODY)
    line = rejected(envoy, "/github", [*sign.github(SECRET, BODY), JSON, ("Content-Encoding", "gzip")], small)
    assert line["content_encoding"] == "gzip"
    assert "compressed" in line["hint"]


def test_the_route_lacks_the_decompressor(envoy):
    small = gzip.compress(BODY)
    line = rejected(envoy, "/inflated", [*sign.default(SECRET, BODY), JSON, ("Content-Encoding", "gzip")], small)
    assert "enable Envoy's decompressor" in line["hint"]


def test_a_compressed_body_whose_values_the_scheme_reads(envoy):
    small = gzip.compress(b'{"id": "1"}')
    headers = [("X-Signature", sign.mac(SECRET.encode(), small).hex()), ("Content-Encoding", "gzip")]
    line = rejected(envoy, "/by-json", headers, small, "signature_malformed")
    assert "compressed" in line["hint"]


def test_a_body_that_was_lost_on_the_way(envoy):
    line = rejected(envoy, "/github", [*sign.github(SECRET, BODY), JSON], b"")
    assert line["body_bytes"] == line["content_length"] == 0
    assert "the body is empty" in line["hint"]


def test_the_url_of_another_host(envoy):
    """Twilio signs what its console has. The host differs from `public_url` here."""
    url = "https://internal.example.net/twilio"
    signature = base64.b64encode(sign.mac(TWILIO.encode(), url.encode(), b"AFrom+1", algorithm="sha1")).decode()
    line = rejected(envoy, "/twilio", [("X-Twilio-Signature", signature), FORM], b"AFrom=%2B1")
    assert line["signed_url"] == PUBLIC_URL + "/twilio"
    assert line["signatures"] == "x-twilio-signature: <28 base64>"
    token = "token-in-the-query"
    line = rejected(envoy, f"/twilio?token={token}", [("X-Twilio-Signature", signature), FORM], b"AFrom=%2B1")
    assert line["signed_url"] == PUBLIC_URL + "/twilio?..."
    assert token not in json.dumps(line)


def test_a_changed_body_whose_hash_is_signed(envoy):
    """Twilio signs the hash of a JSON body in the URL. So the guard knows that the secret is right."""
    target = "/twilio?bodySHA256=" + hashlib.sha256(BODY).hexdigest()
    signature = sign.mac(TWILIO.encode(), (PUBLIC_URL + target).encode(), algorithm="sha1")
    headers = [("X-Twilio-Signature", base64.b64encode(signature).decode()), JSON]
    assert client.post(envoy.port, target, headers, BODY).status == 200
    line = rejected(envoy, target, headers, json.dumps(json.loads(BODY)).encode())
    assert "for another body" in line["hint"]


def test_hex_where_base64_is_expected(envoy):
    at = str(int(time.time()))
    headers = [("webhook-id", "msg_1"), ("webhook-timestamp", at), ("webhook-signature", "v1," + "ab" * 32)]
    line = rejected(envoy, "/standard", headers, reason="signature_malformed")
    assert line["signatures"] == "webhook-signature: v1,<64 hex>"
    assert line["signature_expected"] == "v1,<44 base64>"


def test_another_signature_of_the_sender(envoy):
    """An old version of the header, where the preset expects the new one."""
    sha1 = "sha1=" + sign.mac(SECRET.encode(), BODY, algorithm="sha1").hex()
    line = rejected(envoy, "/github", [("X-Hub-Signature", sha1), JSON], reason="signature_missing")
    assert line["missing"] == "x-hub-signature-256"
    assert line["other_signatures"] == "x-hub-signature"
    line = rejected(envoy, "/github", [("X-Hub-Signature-256", sha1), JSON], reason="signature_malformed")
    assert line["signatures"] == "x-hub-signature-256: sha1=<40 hex>"
    assert line["signature_expected"] == "sha256=<64 hex>"


def test_a_header_that_a_proxy_dropped(envoy):
    headers = [each for each in sign.standard_webhooks(WHSEC, BODY) if each[0] != "webhook-id"]
    line = rejected(envoy, "/standard", headers, reason="signature_missing")
    assert line["missing"] == "webhook-id"


@pytest.mark.parametrize(
    "offset, reason", [(-3_600, "timestamp_expired"), (3_600, "timestamp_future")], ids=["slow", "fast"]
)
def test_a_clock_that_is_wrong(envoy, offset, reason):
    line = rejected(envoy, "/stripe", sign.stripe(SECRET, BODY, int(time.time()) + offset), reason=reason)
    assert abs(line["timestamp_age_s"] + offset) <= 60
    assert "hint" not in line


def test_milliseconds_where_seconds_are_expected(envoy):
    line = rejected(envoy, "/stripe", sign.stripe(SECRET, BODY, int(time.time() * 1_000)), reason="timestamp_future")
    assert "another unit" in line["hint"]


def test_an_invalid_signature_with_a_fresh_timestamp(envoy):
    line = rejected(envoy, "/stripe", sign.stripe(OTHER, BODY))
    assert abs(line["timestamp_age_s"]) <= 60
    assert line["signatures"] == "stripe-signature: t=<10 digits>,v1=<64 hex>"


def test_a_key_that_no_secret_has(envoy):
    signature = sign.mac(SECRET.encode(), BODY).hex()
    line = rejected(envoy, "/named", [("X-Signature", signature), ("X-Key", "test")])
    assert "versions_tried" not in line
    assert "key id" in line["hint"]


def test_a_content_length_that_is_not_plain(envoy):
    text = b"POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 013\r\n\r\n" + b"x" * 13
    before = envoy.log_size()
    assert client.ask(envoy.port, text).status == 413
    line = only(until(lambda: envoy.guard_lines(before), what="the guard's line"))
    assert "not a plain number" in line["hint"]
    assert "content_length" not in line


def test_a_monitored_failure_is_diagnosed_too(envoy):
    """The guard itself adds a content-length to what it forwards. The line has only the sender's."""
    chunked = [("Transfer-Encoding", "chunked"), *sign.default(OTHER, BODY)]
    text = client.request("/watched", chunked, None) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    before = envoy.log_size()
    with debug(envoy):
        assert client.ask(envoy.port, text).status == 200
    line = only(until(lambda: envoy.guard_lines(before), what="the guard's line"))
    assert (line["verdict"], line["body_bytes"]) == ("monitored", len(BODY))
    assert line["body_sha256"] == hashlib.sha256(BODY).hexdigest()
    assert "content_length" not in line


def test_a_hostile_request_writes_a_short_line(envoy):
    headers = [("X-Hub-Signature-256", b"\xff\xfe,=" * 1_000), ("Content-Type", b"a/" + "\U0001f600".encode() * 1_000)]
    headers += [("Content-Encoding", "\U0001f600".encode() * 1_000)]
    headers += [(f"x-{number}-sig" + "n" * 200, "1") for number in range(20)]
    before = envoy.log_size()
    line = rejected(envoy, "/github", headers, reason="signature_malformed")
    assert max(len(value) for value in line.values() if isinstance(value, str)) <= 200
    assert max(len(json.dumps(value)) for value in line.values()) <= 202
    assert len(envoy.log(before)) < 2_000


def test_the_level_can_change_while_envoy_runs(envoy):
    """The guard hashes bodies only while Envoy writes debug lines of Wasm modules."""
    headers = sign.default(OTHER, BODY)
    assert "body_sha256" not in rejected(envoy, "/orders", headers)
    with debug(envoy):
        assert "body_sha256" in rejected(envoy, "/orders", headers)
    assert "body_sha256" not in rejected(envoy, "/orders", headers)


def test_a_large_body_has_its_hash(envoy):
    body = bytes(range(256)) * 4_000
    with debug(envoy):
        line = rejected(envoy, "/orders", sign.default(OTHER, body), body)
    assert line["body_sha256"] == hashlib.sha256(body).hexdigest()


def test_no_debug_line_shows_a_secret_or_an_expected_code(envoy):
    """Neither the secrets, nor the code that the guard computes, nor the code or the body that it got."""
    body = b'{"private": "a customer of ours"}'
    before = envoy.log_size()
    with debug(envoy):
        for path, headers in {
            "/orders": sign.default(OTHER, body),
            "/github": sign.github(OTHER, body),
            "/stripe": sign.stripe(OTHER, body),
            "/token": [("X-Gitlab-Token", OTHER)],
            "/standard": [*sign.standard_webhooks(WHSEC, body)[:2], ("webhook-signature", SECRET)],
        }.items():
            client.post(envoy.port, path, headers, body)
        # The sender sends its secret in place of a signature.
        client.post(envoy.port, "/github", [("X-Hub-Signature-256", SECRET)], body)
        client.post(envoy.port, "/github", [("X-Hub-Signature-256", f"sha256={SECRET}")], body)
        until(lambda: len(envoy.guard_lines(before)) == 7, what="the guard's lines")
    log = envoy.log()
    for key in (SECRET, OTHER, OLDER):
        code = sign.mac(key.encode(), body)
        for text in (key, code.hex(), base64.b64encode(code).decode()):
            assert text not in log
    assert "a customer of ours" not in log


def commands(heading: str) -> str:
    """The commands below a heading of the runbook."""
    _, _, section = (ROOT / "envoy" / "monitoring" / "README.md").read_text().partition(f"# {heading}\n")
    return re.search(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[1]


def run(command: str, folder, **variables) -> str:
    environment = {"PATH": os.environ["PATH"], **variables}
    done = subprocess.run(["sh", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_of_the_runbook(envoy, tmp_path):
    """Your own request is accepted with the right secret, and rejected with another one."""
    url = f"http://127.0.0.1:{envoy.port}/github"
    own = commands("Sign a request yourself")
    assert "200 OK" in run(own, tmp_path, URL=url, WEBHOOK_SECRET=SECRET)
    on, compare, off = commands("Compare the body").replace(":9901", f":{envoy.admin}").splitlines()
    run(on, tmp_path)
    before = envoy.log_size()
    assert "401 Unauthorized" in run(own, tmp_path, URL=url, WEBHOOK_SECRET=OTHER)
    line = only(until(lambda: envoy.guard_lines(before), what="the guard's line"))
    run(off, tmp_path)
    assert run(compare, tmp_path).split()[0] == line["body_sha256"]
    shown = run(commands("signature_invalid").replace("envoy.log", str(envoy.folder / "log")), tmp_path)
    assert json.loads(shown)["body_sha256"] == line["body_sha256"]


def test_the_page_lists_the_fields_of_a_line(envoy):
    page = (ROOT / "envoy" / "monitoring" / "README.md").read_text()
    written = set(re.findall(r"^\| `(\w+)` \| yes \|", page, re.MULTILINE))
    rejected(envoy, "/github", [("X-Hub-Signature", "sha1=ab"), JSON], reason="signature_missing")
    rejected(envoy, "/twilio?a=1", [("X-Twilio-Signature", "A" * 27 + "="), FORM], b"From=1")
    for line in envoy.guard_lines():
        assert set(line) - {"level"} <= written


class debug:
    """Envoy writes debug lines of Wasm modules, as the runbook says."""

    def __init__(self, envoy: Envoy) -> None:
        self.envoy = envoy

    def __enter__(self) -> None:
        self.envoy.get("/logging?wasm=debug", method="POST")

    def __exit__(self, *_) -> None:
        self.envoy.get("/logging?wasm=info", method="POST")
