"""The command `webhook-guard sign`: a real Envoy accepts what the command signs, by every preset with a shared secret."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
import time

import pytest

from harness import client, command
from harness.envoy import Envoy
from harness.full_config import FAR_AWAY, FORGETFUL
from harness.http1 import Reader
from harness.ports import free_ports
from harness.presets import FOLDER, signature_of
from harness.server import Server
from harness.verdict import verdict

# These senders sign by a private key.
PRIVATE = {"discord", "sendgrid", "standard-webhooks-v1a", "telnyx"}
PRESETS = sorted(file.stem for file in FOLDER.glob("*.json") if file.stem not in PRIVATE)
ENCODED = base64.b64encode(b"thirty-two bytes for one webhook").decode()
KEYS = {"hex": b"thirty-two bytes of hexadecimal!".hex(), "base64": ENCODED, "whsec": f"whsec_{ENCODED}"}
OTHER_KEYS = {
    "hex": "ab" * 32,
    "base64": ENCODED.replace("d", "e"),
    "whsec": "whsec_" + ENCODED.replace("d", "e"),
}
BODY = {"id": "evt_1", "text": "h\u00e9llo \u2713 it's"}
NOTIFICATION = {"pspReference": "1", "merchantAccountCode": "m", "amount": {"value": 10, "currency": "EUR"}}
# The bodies of senders that sign values of the body.
BODIES = {
    "adyen-payments": {"live": "false", "notificationItems": [{"NotificationRequestItem": NOTIFICATION}]},
    "braintree": b"bt_payload=PG5vdGlmaWNhdGlvbj4%3D",
    "dropbox-sign": {"event": {"event_time": "1348177752", "event_type": "signature_request_sent"}},
    "mailgun": {"event-data": {"event": "opened"}},
    "mailgun-routes": b"recipient=a%40example.com&body-plain=text",
    "microsoft-graph": {"value": [{"changeType": "created"}, {"changeType": "updated"}]},
    "plivo-v3": b"From=1&To=2&CallUUID=3",
    "twilio": b"From=%2B14158675309&Body=it%27s",
}
# The targets of senders that sign values of the query.
TARGETS = {"mercado-pago": "/mercado-pago?data.id=ABC1&type=order"}


def secret_of(preset: str, keys: dict = KEYS, text: str = "the-shared-secret-of") -> str:
    kind = signature_of(preset).get("key")
    return keys[kind] if isinstance(kind, str) and kind in keys else f"{text}-{preset}"


def body_of(preset: str) -> bytes:
    now = int(time.time() * 1000)
    timed = {"linear": {**BODY, "webhookTimestamp": now}, "pusher": {"time_ms": now, "events": []}}
    body = {**BODIES, **timed}.get(preset, BODY)
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def endpoint(preset: str, secret: str) -> dict:
    return {
        "name": preset,
        "match": {"path": f"/{preset}"},
        "provider": preset,
        "public_url": "https://hooks.example.com",
        "secrets": [{"version": "v1", "value": secret}],
    }


VERSIONS = [
    {"version": "old", "value": "the-expired-secret-1", "not_after": FAR_AWAY["past"]},
    {"version": "leaked", "value": "the-revoked-secret-1", "revoked": True},
    {"version": "coming", "value": "the-coming-secret-12", "not_before": FAR_AWAY["future"]},
    {"version": "new", "env": "NEW_SECRET"},
]
NEW_SECRET = "the-secret-of-this-year"
ORDERS = {"name": "orders", "match": {"path": "/orders"}, "secrets": VERSIONS, "methods": ["POST", "PUT"]}
STRIPE = {
    "name": "timed",
    "match": {"prefix": "/timed/", "host": "timed.test"},
    "provider": "stripe",
    "secrets": VERSIONS,
    "replay": FORGETFUL,
    "allow": ["127.0.0.0/8", "192.0.2.1"],
}


def configuration(secret=secret_of) -> dict:
    endpoints = [endpoint(name, secret(name)) for name in PRESETS]
    return {"environment": "test", "endpoints": [ORDERS, STRIPE, *endpoints]}


@pytest.fixture(scope="module")
def guard(upstream):
    """An Envoy with an endpoint of each preset."""
    with Envoy(upstream.port, configuration(), env={"NEW_SECRET": NEW_SECRET}) as running:
        yield running


@pytest.fixture(scope="module")
def sign(tmp_path_factory):
    """Runs `sign` with that configuration, or with other secrets."""
    folder = tmp_path_factory.mktemp("sign")
    (folder / "guard.yaml").write_text(json.dumps(configuration()))
    others = configuration(lambda name: secret_of(name, OTHER_KEYS, "another-secret-of"))
    (folder / "others.yaml").write_text(json.dumps(others))

    def run(name, body, *arguments, file="guard.yaml", env=None) -> command.Result:
        arguments = ("sign", "--config", file, "--endpoint", name, "--body", "-", *arguments)
        env = {"NEW_SECRET": NEW_SECRET, **(env or {})}
        result = command.run(*arguments, stdin=body, env=env, folder=folder)
        assert "the-shared-secret" not in result.stderr and NEW_SECRET not in result.stderr
        return result

    run.folder = folder
    return run


def target(name: str) -> tuple:
    return ("--path", TARGETS[name]) if name in TARGETS else ()


class TestPresets:
    @pytest.mark.parametrize("name", PRESETS)
    def test_envoy_accepts_the_request_and_no_other_body_or_secret(self, name, guard, upstream, sign):
        body = body_of(name)
        signed = sign(name, body, "--format", "http", *target(name))
        assert signed.status == 0, signed.stderr
        assert "would not accept" not in signed.stderr
        if signature_of(name).get("algorithm") != "token":
            assert secret_of(name).encode() not in signed.stdout
        captured = ("verify", "--config", "guard.yaml", "--request", "-", "--format", "json")
        judged = command.run(*captured, stdin=signed.stdout, folder=sign.folder)
        assert (judged.json()["verdict"], judged.json()["endpoint"]) == ("accepted", name)
        before = len(upstream.requests)
        assert client.ask(guard.port, signed.stdout).status == 200
        assert upstream.next(before).all("x-webhook-guard-endpoint") == [name]
        forged = sign(name, body, "--format", "http", *target(name), file="others.yaml")
        assert forged.status == 0, forged.stderr
        with upstream.nothing():
            assert client.ask(guard.port, forged.stdout).status == 401
        if signature_of(name).get("body") == "unsigned":
            return
        changed = sign(name, body, "--format", "http", *target(name)).stdout
        with upstream.nothing():
            assert client.ask(guard.port, changed[:-1] + b"~").status == 401

    @pytest.mark.parametrize(
        "name, option, value, length",
        [
            ("twilio", "--algorithm", "hmac-sha256", 44),
            ("twilio", "--algorithm", "hmac-sha1", 28),
            ("twilio", "--form", "2", 28),
            ("braintree", "--form", "2", 40),
        ],
    )
    def test_each_algorithm_and_form_is_accepted(self, name, option, value, length, guard, sign):
        first = sign(name, body_of(name), "--format", "http").stdout
        signed = sign(name, body_of(name), "--format", "http", option, value).stdout
        assert (first == signed) == (value == "hmac-sha1")
        assert client.ask(guard.port, signed).status == 200
        place = rb"x-twilio-signature: (\S+)" if name == "twilio" else rb"%7C([0-9a-f]+)"
        assert len(re.search(place, signed, re.IGNORECASE)[1]) == length
        unknown = sign(name, body_of(name), option, "3" if option == "--form" else "hmac-sha512")
        assert (unknown.status, unknown.stdout) == (2, b"") and option in unknown.stderr

    @pytest.mark.parametrize("name", sorted(PRIVATE))
    def test_only_the_sender_has_a_private_key(self, name, tmp_path):
        keys = {"discord": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"}
        key = keys.get(name, "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
        if name == "sendgrid":
            key = SENDGRID_KEY
        file = tmp_path / "guard.json"
        file.write_text(json.dumps({"environment": "test", "endpoints": [endpoint(name, key)]}))
        result = command.run("sign", "--config", file, "--body", "-", stdin=b"{}")
        assert (result.status, result.stdout) == (2, b"")
        assert "private key" in result.stderr

    def test_the_secret_itself_is_a_reason_for_a_warning(self, sign):
        result = sign("gitlab-token", b"{}")
        assert result.stdout.decode() == "X-Gitlab-Token: the-shared-secret-of-gitlab-token\n"
        assert "secret itself" in result.stderr


SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEDr2LjtURuePQzplybdC+u4CwrqDqBaWjcMMsTbhdbcwHBcepxo7yAQ"
    "GhHPTnlvFYPAZFceEu/1FwCM/QmGUhA=="
)


class TestVersions:
    REASONS = {
        "new": ("accepted", "accepted"),
        "old": ("denied", "secret_expired"),
        "leaked": ("denied", "secret_revoked"),
        "coming": ("denied", "secret_not_yet_valid"),
    }

    @pytest.mark.parametrize("version", REASONS)
    def test_each_version_signs_and_the_warning_is_the_reason(self, version, guard, sign):
        outcome, reason = self.REASONS[version]
        signed = sign("orders", b"{}", "--version", version, "--format", "http")
        with verdict(guard, "orders", outcome, reason):
            client.ask(guard.port, signed.stdout)
        assert (reason in signed.stderr) == (outcome == "denied")

    def test_the_first_valid_version_is_the_default(self, guard, sign):
        default, new = sign("orders", b"{}"), sign("orders", b"{}", "--version", "new")
        assert default.stdout == new.stdout and default.stdout.startswith(b"X-Webhook-Signature: ")
        headers = [line.split(": ") for line in default.stdout.decode().splitlines()]
        assert client.post(guard.port, "/orders", headers, b"{}").status == 200
        early = sign("orders", b"{}", "--at", "2000-12-31T00:00:00Z")
        assert early.stdout == sign("orders", b"{}", "--version", "old").stdout
        assert early.stderr == ""

    def test_an_unknown_version_lists_the_known_ones(self, sign):
        result = sign("orders", b"{}", "--version", "v9")
        assert (result.status, result.stdout) == (2, b"")
        assert "old, leaked, coming, new" in result.stderr

    def test_another_time_is_signed_and_reported(self, guard, sign):
        for at, reason in ((-3600, "timestamp_expired"), (3600, "timestamp_future")):
            at = str(int(time.time()) + at)
            signed = sign("timed", b"{}", "--at", at, "--format", "http")
            assert f"t={at},v1=".encode() in signed.stdout
            assert f"at the present time: {reason}" in signed.stderr
            with verdict(guard, "timed", "denied", reason):
                client.ask(guard.port, signed.stdout)


BYTES = {
    "text": b'{"a": "it\'s $HOME `id` \\n !x %s \\\\"}\n',
    "empty": b"",
    "at": b"@/etc/hostname",
    "dash": b"-n",
    "controls": bytes(range(32)) + b"\x7f\\0101 %b \\c end\n\n",
    "all": bytes(range(256)) * 3,
    "digits": b"\x00" + b"7" + b"\x01234",
    "large": b"<'&\\>" * 30_000,
    "large and binary": bytes(range(256)) * 600,
}


class TestCurl:
    @pytest.mark.parametrize("shell", ["sh", "bash"])
    @pytest.mark.parametrize("name", BYTES)
    def test_a_shell_and_curl_send_every_byte(self, name, shell, guard, upstream, sign):
        body, url = BYTES[name], f"http://127.0.0.1:{guard.port}/orders"
        more = ("--url", url, "-H", "X-Other: it's \"$HOME\"", "-H", "X-Empty:", "--method", "PUT")
        printed = sign("orders", body, "--format", "curl", *more)
        assert printed.stdout.isascii() or name == "text"
        self.run_in(shell, printed, sign.folder)
        arrived = upstream.requests[-1]
        assert (arrived.method, arrived.body) == ("PUT", body)
        assert arrived.all("x-other") == ['it\'s "$HOME"'] and arrived.all("x-empty") == [""]

    @pytest.mark.parametrize(
        "name", ["azure-event-grid", "braintree", "dropbox-sign", "figma", "mailgun", "mercado-pago", "twilio"]
    )
    def test_signatures_in_the_query_and_in_the_body(self, name, guard, upstream, sign):
        url = f"http://127.0.0.1:{guard.port}{TARGETS.get(name, '')}"
        printed = sign(name, body_of(name), "--format", "curl", "--url", url)
        before = len(upstream.requests)
        self.run_in("sh", printed, sign.folder)
        assert upstream.next(before).all("x-webhook-guard-endpoint") == [name]

    def test_a_body_in_a_file_stays_there(self, guard, upstream, sign):
        file = sign.folder / "it's a body.json"
        file.write_bytes(BYTES["all"])
        arguments = ("sign", "--config", "guard.yaml", "--endpoint", "orders", "--body", file.name)
        url = ("--format", "curl", "--url", f"http://127.0.0.1:{guard.port}")
        printed = command.run(*arguments, *url, env={"NEW_SECRET": NEW_SECRET}, folder=sign.folder)
        assert b"--data-binary '@it'\\''s a body.json'" in printed.stdout
        self.run_in("sh", printed, sign.folder)
        assert upstream.requests[-1].body == BYTES["all"]

    def test_the_url_is_the_one_that_the_sender_calls(self, sign):
        printed = sign("github", b"{}", "--format", "curl", "--path", "/github?a=[1]")
        assert b"'https://hooks.example.com/github?a=[1]'" in printed.stdout

    @staticmethod
    def run_in(shell: str, printed: command.Result, folder) -> None:
        assert printed.status == 0, printed.stderr
        script = printed.stdout.rstrip(b"\n") + b" --silent --output /dev/null --write-out '%{http_code}'"
        ran = subprocess.run([shell], input=script, cwd=folder, capture_output=True, timeout=60)
        assert (ran.stdout, ran.returncode) == (b"200", 0), ran.stderr


class Fixed(Server):
    """Answers every request with these bytes, and counts the requests."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.count = answer, 0
        super().__init__()

    def _serve(self, peer) -> None:
        with peer:
            reader = Reader(peer)
            reader.body(reader.head())
            self.count += 1
            with contextlib.suppress(ConnectionError):
                peer.sendall(self.answer)


class TestSend:
    def test_the_status_decides(self, guard, upstream, sign):
        address = f"http://127.0.0.1:{guard.port}"
        # A proxy of the environment is not used.
        proxy = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
        before = len(upstream.requests)
        sent = sign("timed", b"{}", "--send", address, env=proxy)
        assert (sent.status, sent.stdout.decode()) == (0, "200 OK\nhello\n")
        assert upstream.next(before).path == "/timed/"
        with upstream.nothing():
            sent = sign("timed", b"{}", "--send", address, "--at", "1700000000")
        assert (sent.status, sent.stdout.decode()) == (1, "401 Unauthorized\nInvalid signature\n")
        assert "timestamp_expired" in sent.stderr

    def test_no_server_and_no_tls(self, sign):
        for address in (f"http://127.0.0.1:{free_ports(1)[0]}", "https://127.0.0.1", "127.0.0.1:80", "http://a/b"):
            sent = sign("orders", b"{}", "--send", address)
            assert (sent.status, sent.stdout) == (2, b""), address
            assert "--send" in sent.stderr

    def test_a_redirect_is_shown_and_not_followed(self, sign):
        with Fixed(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as other:
            to = f"location: http://127.0.0.1:{other.port}/\r\n".encode()
            with Fixed(b"HTTP/1.1 307 Moved\r\n" + to + b"content-length: 2\r\n\r\nno") as server:
                sent = sign("orders", b"{}", "--send", f"http://127.0.0.1:{server.port}")
                assert (sent.status, sent.stdout, server.count, other.count) == (1, b"307 Moved\nno\n", 1, 0)

    @pytest.mark.parametrize(
        "answer",
        [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nx", b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000, b""],
        ids=["another protocol", "no end", "only interim answers", "nothing"],
    )
    def test_another_protocol_or_half_an_answer_is_an_error(self, answer, sign):
        with Fixed(answer) as server:
            sent = sign("orders", b"{}", "--send", f"http://127.0.0.1:{server.port}")
        assert (sent.status, sent.stdout) == (2, b"")

    def test_an_answer_is_bounded_and_does_not_change_a_terminal(self, sign):
        page = b"\x1b[2J\x9b\xe2\x80\xae" + b"x" * 10_000_000
        with Fixed(b"HTTP/1.1 500 \x1b]0;x\r\n\r\n" + page) as server:
            sent = sign("orders", b"{}", "--send", f"http://127.0.0.1:{server.port}")
        assert sent.status in (1, 2) and b"\x1b" not in sent.stdout and len(sent.stdout) < 10_000
        with Fixed(b"HTTP/1.1 500 X\r\n\r\n" + page) as server:
            sent = sign("orders", b"{}", "--send", f"http://127.0.0.1:{server.port}")
        assert sent.status == 1 and sent.stdout.startswith(b"500 X\n\\u{1b}[2J")
        assert len(sent.stdout) < 10_000
