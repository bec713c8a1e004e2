"""Secrets as operators paste them into environment variables."""

from __future__ import annotations

import pytest

from harness import client, sign
from harness.envoy import Envoy

BODY = b'{"order": 42}'
# The last digit has four bits that do not belong to the key. Python's library ignores them, as those of senders do.
KEY = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oEQR=="
LINE = "the-secret-of-a-file-with-a-line-break"
DEFAULT = {"header": "X-Webhook-Signature"}


def endpoint(variable: str, **fields) -> dict:
    secrets = [{"version": "v1", "env": variable}]
    return {"name": variable.lower(), "match": {"path": f"/{variable}"}, "secrets": secrets, **fields}


def test_they_verify_what_senders_sign_with_them(start, upstream):
    endpoints = [
        endpoint("KEY", provider="standard-webhooks"),
        endpoint("KEY_AND_LINE", provider="standard-webhooks"),
        endpoint("LINE"),
        endpoint("CRLF"),
    ]
    env = {"KEY": KEY, "KEY_AND_LINE": f"{KEY}\n", "LINE": f"{LINE}\n", "CRLF": f"{LINE}\r\n"}
    envoy = start(upstream, {"endpoints": endpoints}, env=env)
    for path in ("/KEY", "/KEY_AND_LINE"):
        headers = sign.standard_webhooks(KEY, BODY)
        assert client.post(envoy.port, path, headers, BODY).status == 200
        assert client.post(envoy.port, path, headers, BODY + b" ").status == 401
    for path in ("/LINE", "/CRLF"):
        assert client.post(envoy.port, path, sign.default(LINE, BODY), BODY).status == 200
        assert client.post(envoy.port, path, sign.default(f"{LINE}\n", BODY), BODY).status == 401


@pytest.mark.parametrize(
    ("signature", "value", "hint"),
    [
        ({**DEFAULT, "key": "whsec"}, f"v1,{KEY}", "the secret starts with `v1,`: remove it"),
        ({**DEFAULT, "key": "base64"}, KEY, "set `key` to whsec"),
        ({**DEFAULT, "key": "hex"}, '"0123456789abcdef"', "in quotation marks: remove them"),
        ({**DEFAULT, "key": "base64"}, "-----BEGIN PUBLIC KEY-----\\nMCowBQ==", "the secret is PEM"),
        (DEFAULT, " \r\n", "the secret is blank"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isprintable() else "",
)
def test_an_unusable_one_is_refused_with_its_variable_and_its_cause(signature, value, hint, upstream):
    configuration = {"endpoints": [endpoint("ORDERS_SECRET", signature=signature)]}
    envoy = Envoy(upstream.port, configuration, env={"ORDERS_SECRET": value})
    assert envoy.start_refused() == 1
    log = envoy.log()
    assert "endpoints[0].secrets[0].env: in the environment variable ORDERS_SECRET, " in log
    assert hint in log
    assert not value.strip() or value.strip() not in log
