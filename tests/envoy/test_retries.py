"""Senders that repeat a request for hours with the same signed time. The clock of Envoy moves between the attempts."""

from __future__ import annotations

import itertools
import json
import time

import pytest

from harness import client
from harness.clock import Clock
from harness.envoy import Envoy
from harness.failing_upstream import FailingUpstream
from harness.full_config import endpoint
from harness.polling import until
from harness.presets import seconds, tolerance_of
from harness.sign import mac

SECRET = "secret-of-the-sender"
# When each sender repeats a failed delivery, in seconds after the first attempt.
SCHEDULES = {
    "linear": ["1m", "1h1m", "7h1m"],
    "mailgun": ["5m", "15m", "30m", "1h30m", "3h30m", "7h30m"],
}
NUMBERS = itertools.count()


def linear(at: int) -> tuple:
    """A delivery that is signed at this time, in seconds: path, headers and body."""
    body = json.dumps({"action": "create", "number": next(NUMBERS), "webhookTimestamp": at * 1000}).encode()
    return "/linear", [("Linear-Signature", mac(SECRET.encode(), body).hex())], body


def mailgun(at: int, event: str = "delivered", token: str | None = None) -> tuple:
    token = token or f"token-{next(NUMBERS)}"
    signature = mac(SECRET.encode(), b"%d" % at, token.encode()).hex()
    signed = {"timestamp": str(at), "token": token, "signature": signature}
    body = json.dumps({"signature": signed, "event-data": {"event": event}}).encode()
    return "/mailgun", [("Content-Type", "application/json")], body


SENDERS = {"linear": linear, "mailgun": mailgun}


@pytest.fixture(scope="module")
def upstream():
    with FailingUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    return Clock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def envoy(upstream, clock):
    secret = {"version": "v1", "value": SECRET}
    endpoints = [endpoint(name, secret, provider=name) for name in SENDERS]
    with Envoy(upstream.port, {"environment": "test", "endpoints": endpoints}, clock=clock) as running:
        yield running


@pytest.fixture(autouse=True)
def begin(clock, upstream):
    """The clock is right and the upstream is healthy when a test begins."""
    clock.set(0)
    upstream.behaviour = "healthy"


def now() -> int:
    return int(time.time())


def send(envoy, delivery: tuple) -> tuple:
    """The status and the reason that a delivery gets."""
    log = envoy.log_size()
    status = client.post(envoy.port, *delivery).status
    (line,) = until(lambda: envoy.guard_lines(log), what="the guard's line")
    return status, line["reason"]


@pytest.mark.parametrize("name", SENDERS)
class TestARetryOfTheSameBytes:
    def test_of_a_failed_delivery_goes_upstream(self, name, envoy, upstream, clock):
        delivery = SENDERS[name](now())
        upstream.behaviour = "failing"
        *failing, last = map(seconds, SCHEDULES[name])
        for elapsed in (0, *failing):
            clock.set(elapsed)
            assert send(envoy, delivery) == (500, "accepted"), elapsed
        upstream.behaviour = "healthy"
        clock.set(last)
        assert send(envoy, delivery) == (200, "accepted")
        assert upstream.requests[-1].body == delivery[2]
        with upstream.nothing():
            assert send(envoy, delivery) == (200, "replayed")

    def test_of_a_delivery_whose_answer_was_lost_is_a_success_to_its_sender(self, name, envoy, upstream, clock):
        """Otherwise the sender would try again until it disables the webhook."""
        delivery = SENDERS[name](now())
        assert send(envoy, delivery) == (200, "accepted")
        with upstream.nothing():
            for elapsed in map(seconds, SCHEDULES[name]):
                clock.set(elapsed)
                assert send(envoy, delivery) == (200, "replayed"), elapsed

    def test_within_the_tolerance_and_beyond(self, name, envoy, upstream, clock):
        past, future = tolerance_of(name)
        assert past > max(map(seconds, SCHEDULES[name]))
        # A request takes some seconds on a busy machine.
        for offset, reason in [
            (-past - 5, "timestamp_expired"),
            (30 - past, "accepted"),
            (future - 5, "accepted"),
            (future + 30, "timestamp_future"),
        ]:
            assert send(envoy, SENDERS[name](now() + offset))[1] == reason, offset

    def test_is_known_until_its_time_has_expired(self, name, envoy, upstream, clock):
        past, future = tolerance_of(name)
        delivery = SENDERS[name](now() + future - 5)
        assert send(envoy, delivery) == (200, "accepted")
        with upstream.nothing():
            clock.set(future + past - 65)
            assert send(envoy, delivery) == (200, "replayed")
            clock.set(future + past + 1)
            assert send(envoy, delivery) == (401, "timestamp_expired")


def test_a_captured_signature_carries_no_other_event_after_hours(envoy, upstream, clock):
    """Mailgun does not sign the event."""
    at, token = now(), f"token-{next(NUMBERS)}"
    assert send(envoy, mailgun(at, "delivered", token)) == (200, "accepted")
    clock.set(4 * 3600)
    with upstream.nothing():
        assert send(envoy, mailgun(at, "complained", token)) == (200, "replayed")
