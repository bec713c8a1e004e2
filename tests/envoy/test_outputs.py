"""`upstream_headers` and `filter_states`: the guard passes on what they list, and nothing else."""

from __future__ import annotations

import pytest

from harness import client, sign
from harness.full_config import WHSEC, endpoint
from harness.polling import until
from harness.verdict import later

PREFIX = "x-webhook-guard-"
HEADERS = {"endpoint", "secret_version", "delivery"}
STATES = {"verdict", "endpoint", "reason", "secret_version", "delivery_id", "delivery"}
BODY = b'{"order": 42}'


def delivered(start, upstream, **lists):
    """The answer to a delivery with an id, and the line of the access log."""
    ids = endpoint("ids", {"version": "v1", "value": WHSEC}, provider="standard-webhooks")
    envoy = start(upstream, {"environment": "test", "endpoints": [ids], **lists})
    began = later()
    response = client.post(envoy.port, "/ids", sign.standard_webhooks(WHSEC, BODY, identity="msg_1"), BODY)
    (line,) = until(lambda: envoy.access_lines(began), what="the access log")
    return response, {name for name in STATES if line.get(name) is not None}


def passed_on(upstream) -> set:
    """The guard's headers of the last request that went upstream."""
    names = (name.decode().lower() for name, _ in upstream.requests[-1].headers)
    return {name.removeprefix(PREFIX).replace("-", "_") for name in names if name.startswith(PREFIX)}


@pytest.mark.parametrize("wanted", [None, [], ["delivery"], ["endpoint", "secret_version"]])
def test_headers(wanted, start, upstream_alone):
    lists = {} if wanted is None else {"upstream_headers": wanted}
    response, _ = delivered(start, upstream_alone, **lists)
    assert response.status == 200
    assert passed_on(upstream_alone) == (HEADERS if wanted is None else set(wanted))


@pytest.mark.parametrize("wanted", [None, ["verdict"], ["verdict", "endpoint", "delivery_id"], ["verdict", "reason", "delivery"]])
def test_filter_states(wanted, start, upstream_alone):
    lists = {} if wanted is None else {"filter_states": wanted}
    response, states = delivered(start, upstream_alone, **lists)
    assert response.status == 200
    assert states == (STATES if wanted is None else set(wanted))


def test_without_the_verdict_the_gate_rejects_every_request(start, upstream_alone):
    with upstream_alone.nothing():
        response, states = delivered(start, upstream_alone, filter_states=["reason"])
    assert (response.status, states) == (403, {"reason"})
