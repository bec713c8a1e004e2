"""Failing host calls: each call of a request in turn, and each call while a worker reads its configuration.

Whichever call fails, no unverified request reaches the upstream, and each worker keeps running.
"""

from __future__ import annotations

import itertools
import json
import time

import pytest

from harness import client
from harness.clock import Clock
from harness.envoy import MODULE
from harness.failing_host import REMAINDERS, failing, letters
from harness.full_config import FORGETFUL, endpoint, signed
from harness.polling import until

HELD = "the-secret-in-filter-state"
NOT_FOUND, INTERNAL_FAILURE = 1, 10
NAMES = letters(MODULE.read_bytes())
# Headers and trailers that only the guard may set.
CLAIMED = [("X-Webhook-Guard-Endpoint", "claimed"), ("X-Webhook-Guard-Verdict", "claimed")]
SECRETS = [{"version": "other", "value": "not-the-one-that-signs"}, {"version": "held", "filter_state": "webhook.held"}]
ORDERS = endpoint(
    "orders",
    *SECRETS,
    signature={"header": "X-Webhook-Signature", "identity": "message"},
    replay={"window": "1h"},
    allow=["127.0.0.0/8"],
)
# More headers than a request has calls.
MOST = 89
# Calls whose failure does not change the verdict: the stopwatch, metrics and log lines.
SPARED = {"clock_time_get", "proxy_increment_metric", "proxy_log", "proxy_record_metric"}
# The calls while the guard reads its configuration. It sets the timer until it has seen a body.
CONFIGURING = [
    "proxy_set_tick_period_milliseconds",
    "clock_time_get",
    "proxy_define_metric",
    "proxy_get_buffer_bytes",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_property",
    "proxy_get_shared_data",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_record_metric",
    "proxy_set_shared_data",
]
bodies = (b'{"order": %d}' % number for number in itertools.count())


def padded(failure: str = "") -> str:
    """A configuration of the length that makes the import of this name fail for each worker that reads it."""
    watched = endpoint("watched", SECRETS[0], mode="monitor", replay=FORGETFUL)
    configuration = {
        "environment": "development",
        "unmatched": "pass",
        "health_check": {"path": "/healthz"},
        "endpoints": [ORDERS, watched],
    }
    text = json.dumps(configuration)
    remainder = list(NAMES.values()).index(failure) + 1 if failure else 0
    return text + " " * ((remainder - len(text)) % REMAINDERS)


def failing_module(folder, status, lasting=False):
    """A patch: a module whose calls fail, the secret in filter state, and short timeouts."""
    file = folder / "failing.wasm"
    file.write_bytes(failing(MODULE.read_bytes(), status, lasting))

    def patch(document):
        document.guard["vm_config"]["code"]["local"]["filename"] = str(file)
        document.trailers()
        document.manager["stream_idle_timeout"] = "0.5s"
        held = {"object_key": "webhook.held", "factory_key": "envoy.string"}
        held["format_string"] = {"text_format_source": {"inline_string": HELD}}
        document.filters[0]["typed_config"]["on_request_headers"].append(held)

    return patch


@pytest.fixture(scope="module", params=[(INTERNAL_FAILURE, False), (NOT_FOUND, False), (INTERNAL_FAILURE, True)])
def unreliable(request, start_module, tmp_path_factory, upstream):
    """An Envoy whose host fails at one call of a request, or from that one on. Its wall clock does not move. Otherwise
    the guard measures one request in 10 ms, which has more calls than the others."""
    folder = tmp_path_factory.mktemp("module")
    clock = Clock(folder)
    clock.stop_at(time.time())
    envoy = start_module(upstream, padded(), patch=failing_module(folder, *request.param), clock=clock)
    # The first body that a worker sees, and its first keys, cost further calls. No call of these requests fails.
    for _ in range(20):
        client.ask(envoy.port, reliable())
    return envoy


def failures(envoy, since: int) -> list:
    """The calls that have failed since then."""
    lines = envoy.log(since).splitlines()
    letters = [line.rpartition(": ")[2] for line in lines if "wasm log webhook_guard" in line]
    return [NAMES[each] for each in letters if len(each) == 1]


def reliable() -> bytes:
    """A good request. None of its calls fails."""
    return request("/orders", HELD, next(bodies), MOST)


def request(path: str, secret: str, body: bytes, filled: int = 0) -> bytes:
    """A request with `filled` further headers, and with trailers where the guard does not hold it."""
    headers = [*signed(body, secret), *CLAIMED, *((f"x-fill-{number}", "x") for number in range(filled))]
    trailers = CLAIMED if path == "/elsewhere" else ()
    return b"".join(client.chunked(path, headers, [body[:5], body[5:]], trailers))


def health(envoy) -> int:
    """The status of a health check, in one of the workers."""
    return client.ask(envoy.port, client.request("/healthz", body=None, method="GET")).status


def walk(envoy, upstream, path: str, secret: str, body: bytes = b""):
    """Sends a request with ever more headers, until each of its calls has failed in its turn. Returns, for each,
    the call's name, the status, and the headers of the guard at the upstream."""
    walked = []
    for filled in range(MOST + 1):
        since, before = envoy.log_size(), len(upstream.requests)
        status = client.ask(envoy.port, request(path, secret, body or next(bodies), filled)).status
        failed = failures(envoy, since)
        arrived = [guard_headers(each) for each in upstream.requests[before:]]
        assert len(arrived) <= 1 and (status == 200) == bool(arrived), (failed, status)
        if not failed and walked:
            break
        if failed:
            walked.append((failed[0], status, arrived[0] if arrived else None))
    assert len(walked) > 10, walked
    return walked


def guard_headers(arrived) -> dict:
    """The guard's headers and trailers in a request at the upstream."""
    named = [(name.decode().lower(), value.decode()) for name, value in arrived.headers + arrived.trailers]
    return {name.removeprefix("x-webhook-guard-"): value for name, value in named if "guard" in name}


def test_a_good_request_goes_on_whole_or_not_at_all(unreliable, upstream):
    walked = walk(unreliable, upstream, "/orders", HELD)
    for failed, _, arrived in walked:
        if arrived is not None:
            assert (arrived["endpoint"], arrived["secret-version"]) == ("orders", "held")
            assert set(arrived) == {"endpoint", "secret-version", "delivery"}, failed
    marked = max(at for at, each in enumerate(walked) if each[0] == "proxy_replace_header_map_value")
    arrived = {failed for failed, _, arrived in walked[: marked + 1] if arrived is not None}
    assert arrived <= SPARED
    assert {failed for failed, *_ in walked[: marked + 1]} - SPARED >= {
        "proxy_get_buffer_bytes",
        "proxy_get_current_time_nanoseconds",
        "proxy_get_header_map_pairs",
        "proxy_get_property",
        "proxy_get_shared_data",
        "proxy_remove_header_map_value",
        "proxy_set_shared_data",
    }


def test_a_forged_request_and_a_copy_never_go_upstream(unreliable, upstream):
    body = next(bodies)
    assert client.ask(unreliable.port, request("/orders", HELD, body)).status == 200
    for secret, sent in [("not the secret", b""), (HELD, body)]:
        walked = walk(unreliable, upstream, "/orders", secret, sent)
        assert [each for each in walked if each[2] is not None] == []


def test_an_unverified_request_carries_only_the_guards_own_headers(unreliable, upstream):
    for path, says in [("/watched", {"verdict": "monitored"}), ("/elsewhere", {})]:
        walked = walk(unreliable, upstream, path, "not the secret")
        assert all(arrived in (None, says) for *_, arrived in walked), path


def test_no_worker_is_lost(unreliable):
    """Runs after the tests above, on the same Envoy."""
    reloads = unreliable.stats("vm_reload")
    assert reloads and not any(reloads.values())
    assert client.ask(unreliable.port, request("/orders", HELD, next(bodies))).status == 200


def test_a_worker_that_fails_to_read_its_configuration_denies(start, upstream, tmp_path):
    """The main thread accepts the configuration, and a worker refuses it. Envoy would let requests pass that worker."""
    watched = []

    def patch(document):
        failing_module(tmp_path, INTERNAL_FAILURE)(document)
        watched.append(document.discover_guard(tmp_path / "watched"))

    envoy = start(upstream, padded(), patch=patch)
    for failure in CONFIGURING:
        since = envoy.log_size()
        envoy.discover(watched[0], padded(failure))
        until(lambda: failures(envoy, since).count(failure) >= 3, what=failure)
        statuses = (200, 401) if failure == "proxy_log" else (500, 500)
        for secret, status in zip((HELD, "not the secret"), statuses):
            until(lambda: client.ask(envoy.port, request("/orders", secret, next(bodies))).status == status)
        assert health(envoy) == (200 if failure == "proxy_log" else 500)
        with upstream.nothing():
            for _ in range(4):
                client.ask(envoy.port, request("/orders", "not the secret", next(bodies)))
    envoy.discover(watched[0], padded())
    until(lambda: client.ask(envoy.port, request("/orders", HELD, next(bodies))).status == 200)


class TestWithoutTheGuard:
    """Envoy leaves the guard out, and the gate behind it denies every request."""

    def assert_closed(self, envoy, upstream) -> None:
        with upstream.nothing():
            for path in ("/orders", "/watched", "/elsewhere"):
                assert client.ask(envoy.port, request(path, HELD, next(bodies))).status == 403
            assert health(envoy) == 403
        details = 4 * ["rbac_access_denied_matched_policy[none]"]
        until(lambda: [each["details"] for each in envoy.access_lines()] == details)

    def test_a_worker_that_cannot_load_it(self, start, upstream, tmp_path):
        envoy = start(upstream, padded("proxy_increment_metric"), patch=failing_module(tmp_path, None))
        assert "Failed to configure thread-local Wasm plugin" in envoy.log()
        self.assert_closed(envoy, upstream)

    def test_a_route_that_switches_it_off(self, start, upstream, tmp_path):
        def patch(document):
            failing_module(tmp_path, INTERNAL_FAILURE)(document)
            document.switch_off(document.virtual_host["routes"][0], "webhook_guard")

        self.assert_closed(start(upstream, padded(), patch=patch), upstream)
