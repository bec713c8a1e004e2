"""Secrets in filter state: the guard verifies each request with the values of its time.

Here a request carries the values itself, so that a test can choose them on every Envoy. Never do this in production.
test_secret_sources.py tests the real sources.
"""

from __future__ import annotations

import pytest

from harness import client
from harness.full_config import FAR_AWAY, endpoint, signed
from harness.polling import until
from harness.verdict import assert_answer, verdict

BODY = b'{"order": 42}'
FIRST = "the-first-value-of-a-live-secret"
SECOND = "the-second-value-of-a-live-secret"
HELD = "the-secret-of-all-orders"
LEAKED = "the-value-that-has-leaked"


def live(version: str, name: str = "a", **more) -> dict:
    return {"version": version, "filter_state": f"webhook.{name}", **more}


CONFIGURATION = {
    "endpoints": [
        endpoint("orders", live("sds")),
        endpoint("both", live("sds"), {"version": "v1", "env": "WEBHOOK_SECRET"}),
        endpoint("twins", live("a"), live("b", "b")),
        endpoint("leaked", live("good"), live("leaked", "b", revoked=True)),
        endpoint("watched", live("sds"), mode="monitor"),
        endpoint("late", live("old", not_after=FAR_AWAY["past"]), live("last", "b", not_after=FAR_AWAY["future"])),
        endpoint("hashed", live("hex"), signature={"header": "X-S", "key": "hex"}),
    ]
}


def patch(document) -> None:
    """Puts headers into filter state; a missing one as `-`, which is Envoy's default."""
    states = document.filters[0]["typed_config"]["on_request_headers"]
    for name in "ab":
        states.insert(
            0,
            {
                "object_key": f"webhook.{name}",
                "factory_key": "envoy.string",
                "format_string": {"text_format_source": {"inline_string": f"%REQ(x-value-{name})%"}},
            },
        )


@pytest.fixture(scope="module")
def envoy(start_module, upstream):
    return start_module(upstream, CONFIGURATION, patch=patch)


def ask(envoy, path: str, key: str, a=None, b=None):
    """A request signed by `key`, while the filter states hold these values."""
    values = [(f"x-value-{name}", value) for name, value in (("a", a), ("b", b)) if value is not None]
    return client.post(envoy.port, path, [*signed(BODY, key), *values], BODY)


def missing(envoy, name: str, version: str) -> int:
    stat = f"wasmcustom.webhook_guard_secret_missing_total.endpoint={name}.version={version}"
    return envoy.stats("secret_missing")[stat]


def test_each_request_is_verified_with_the_value_of_its_time(envoy):
    for value, other in ((FIRST, SECOND), (SECOND, FIRST), (FIRST, SECOND)):
        with verdict(envoy, "orders", "accepted", "accepted") as seen:
            assert ask(envoy, "/orders", value, value).status == 200
        assert seen["line"]["secret_version"] == "sds"
        with verdict(envoy, "orders", "denied", "signature_invalid"):
            assert_answer(ask(envoy, "/orders", other, value), "signature_invalid")


@pytest.mark.parametrize("value", [None, "-", "", "\xff\xfe"], ids=["absent", "dash", "empty", "binary"])
def test_an_unusable_value_is_reported_as_host_error(value, envoy, upstream):
    """The same applies to a request that is signed with the unusable value."""
    for key in (FIRST, "-", value or ""):
        before = missing(envoy, "orders", "sds")
        with upstream.nothing(), verdict(envoy, "orders", "denied", "host_error"):
            assert_answer(ask(envoy, "/orders", key, value), "host_error")
        assert missing(envoy, "orders", "sds") == before + 1


def test_a_value_that_cannot_be_decoded_is_unusable(envoy):
    assert ask(envoy, "/hashed", FIRST, "no hex").status == 401, "it has no X-S"
    headers = [("X-S", "00" * 32), ("x-value-a", "no hex")]
    with verdict(envoy, "hashed", "denied", "host_error"):
        assert_answer(client.post(envoy.port, "/hashed", headers, BODY), "host_error")
    assert missing(envoy, "hashed", "hex") == 2


def test_monitoring_lets_nothing_pass_without_a_secret(envoy, upstream):
    with upstream.nothing(), verdict(envoy, "watched", "denied", "host_error"):
        assert_answer(ask(envoy, "/watched", FIRST, "-"), "host_error")
    with verdict(envoy, "watched", "monitored", "signature_invalid"):
        assert ask(envoy, "/watched", FIRST, SECOND).status == 200


def test_another_version_verifies_meanwhile(envoy):
    with verdict(envoy, "both", "accepted", "accepted") as seen:
        assert ask(envoy, "/both", HELD).status == 200
    assert seen["line"]["secret_version"] == "v1"
    assert ask(envoy, "/both", FIRST, FIRST).status == 200
    assert ask(envoy, "/both", SECOND).status == 500
    assert ask(envoy, "/both", SECOND, FIRST).status == 401


def test_two_versions_may_hold_one_value(envoy):
    assert ask(envoy, "/twins", FIRST, FIRST, FIRST).status == 200
    assert ask(envoy, "/twins", SECOND, FIRST, SECOND).status == 200
    assert ask(envoy, "/twins", SECOND, FIRST, FIRST).status == 401


def test_a_value_is_revoked_by_being_put_into_a_revoked_version(envoy, upstream):
    assert ask(envoy, "/leaked", LEAKED, LEAKED, SECOND).status == 200
    for good in (FIRST, LEAKED):
        uses = envoy.secret_uses("leaked", "leaked")
        with upstream.nothing(), verdict(envoy, "leaked", "denied", "secret_revoked") as seen:
            assert_answer(ask(envoy, "/leaked", LEAKED, good, LEAKED), "secret_revoked")
        assert seen["line"]["secret_version"] == "leaked"
        assert envoy.secret_uses("leaked", "leaked") == uses + 1


def test_a_missing_or_short_value_is_logged_once_for_each_worker(start, upstream):
    envoy = start(upstream, CONFIGURATION, patch=patch)

    def logged(text: str) -> int:
        lines = envoy.log().splitlines()
        about = 'webhook-guard: endpoint "orders", version "sds": '
        return sum("[warning]" in line and about in line and text in line for line in lines)

    for value, text in ((None, "missing value"), ("tiny#secret", "shorter than 16 bytes")):
        for _ in range(20):
            ask(envoy, "/orders", FIRST, value)
        # Once in each worker.
        assert 1 <= until(lambda: logged(text)) <= 2, envoy.log()
    assert "tiny#secret" not in envoy.log()


def test_no_value_is_in_logs_or_metrics(envoy):
    for value in (FIRST, SECOND, LEAKED):
        ask(envoy, "/twins", value, FIRST, value)
    until(lambda: envoy.access_lines())
    shown = envoy.log() + "".join(map(str, envoy.access_lines())) + envoy.prometheus()
    for value in (FIRST, SECOND, LEAKED):
        assert value not in shown


def test_its_metrics_have_labels(envoy):
    metrics = envoy.prometheus()
    assert '\nwebhook_guard_secret_missing_total{endpoint="orders",version="sds"} ' in metrics
    assert 'webhook_guard_secret_missing_total{endpoint="both",version="v1"}' not in metrics, "it cannot be missing"
    assert '\nwebhook_guard_secrets_expire_seconds{endpoint="orders"} 0\n' in metrics
    assert '\nwebhook_guard_secrets_expire_seconds{endpoint="late"} 29379542400\n' in metrics
