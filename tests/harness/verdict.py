"""Checks a verdict at every place that reports it."""

from __future__ import annotations

import contextlib
import datetime
import time

from harness.polling import until

INVALID = "Invalid signature"
# Reason: the status and the body that a denied sender is answered.
ANSWERS = {
    "path_ambiguous": (400, "Bad request"),
    "unmatched": (404, "Not found"),
    "endpoint_disabled": (503, "Unavailable"),
    "upgrade_refused": (400, "Bad request"),
    "client_address_denied": (403, "Forbidden"),
    "client_address_untrusted": (403, "Forbidden"),
    "allow_list_pending": (503, "Unavailable"),
    "method_not_allowed": (405, "Method not allowed"),
    "query_not_signed": (400, "Bad request"),
    "body_too_large": (413, "Payload too large"),
    "trailers_refused": (400, "Bad request"),
    "signature_missing": (401, INVALID),
    "signature_malformed": (401, INVALID),
    "signature_duplicated": (401, INVALID),
    "signature_invalid": (401, INVALID),
    "timestamp_missing": (401, INVALID),
    "timestamp_malformed": (401, INVALID),
    "timestamp_expired": (401, INVALID),
    "timestamp_future": (401, INVALID),
    "secret_revoked": (401, INVALID),
    "secret_expired": (401, INVALID),
    "secret_not_yet_valid": (401, INVALID),
    "replayed": (409, "Already delivered"),
    "in_flight": (409, "Already being delivered"),
    "host_error": (500, "Internal error"),
    "internal_error": (500, "Internal error"),
    "body_unavailable": (503, "Internal error"),
    "overloaded": (503, "Overloaded"),
}


@contextlib.contextmanager
def verdict(envoy, endpoint: str, outcome: str, reason: str):
    """Fails unless the one request within the block gets this verdict at every place.

    The counters, the guard's line, the access log with the filter state and the response code
    details. Yields a dict, into which the guard's line and the access log's go at the end.
    """
    before = counters(envoy)
    log, start = envoy.log_size(), later()
    seen: dict = {}
    yield seen
    name = f"webhook_guard_requests_total.endpoint={endpoint}.verdict={outcome}.reason={reason}"
    wanted = {**before, name: before.get(name, 0) + 1}
    until(lambda: counters(envoy) != before, what=f"{name} to count")
    now = {key: value for key, value in counters(envoy).items() if before.get(key, 0) != value}
    now = {key: value for key, value in now.items() if "requests_total" in key}
    assert now == {name: wanted[name]}
    seen["access"] = only(until(lambda: envoy.access_lines(start), what="the access log"))
    reported = {key: seen["access"].get(key) for key in ("endpoint", "verdict", "reason")}
    assert reported == {"endpoint": endpoint, "verdict": outcome, "reason": reason}
    if outcome == "denied" and reason != "incomplete":
        assert seen["access"]["details"] == reason
        assert seen["access"]["status"] == ANSWERS[reason][0]
    if leaves_event(envoy) and outcome in ("accepted", "challenged", "passed"):
        assert seen["access"]["event"] == "webhook_processed"
        assert envoy.guard_lines(log) == []
        return
    # Envoy 1.36 writes null where later versions omit the field.
    assert not seen["access"].get("event")
    if outcome != "passed":
        seen["line"] = only(until(lambda: envoy.guard_lines(log), what="the guard's line"))
        check_line(seen["line"], endpoint, outcome, reason)


def leaves_event(envoy) -> bool:
    """Whether the guard leaves the events of accepted requests to the access log, as in the shipped files."""
    value = envoy.document.guard["configuration"]["value"]
    return isinstance(value, dict) and value.get("log") == {"accepted": "debug"}


def check_line(line: dict, endpoint: str, outcome: str, reason: str) -> None:
    reported = {key: line.get(key) for key in ("event", "endpoint", "verdict", "reason")}
    assert reported == {
        "event": "webhook_processed",
        "endpoint": endpoint,
        "verdict": outcome,
        "reason": reason,
    }
    assert line["level"] == ("info" if outcome == "accepted" else "warning")
    assert line.get("status") == (ANSWERS.get(reason, (None,))[0] if outcome == "denied" else None)
    assert 0 <= line["duration_ms"] < 60_000


def counters(envoy) -> dict:
    """The guard's counters by name, without the zeros."""
    prefix = "wasmcustom."
    found = envoy.stats("^wasmcustom.webhook_guard")
    return {name[len(prefix) :]: value for name, value in found.items() if value}


def assert_answer(response, reason: str) -> None:
    """The response is what a request denied for this reason is answered."""
    status, body = ANSWERS[reason]
    assert (response.status, response.body.decode()) == (status, body)
    retry = response.get("retry-after")
    assert (retry is not None) == (status == 503 or reason == "in_flight")
    assert (response.get("allow") is not None) == (status == 405)


def later() -> str:
    """A time as in the access log, after all that was so far."""
    time.sleep(0.002)
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z"


def only(items: list):
    assert len(items) == 1, items
    return items[0]
