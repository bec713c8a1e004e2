"""An application that is not well: senders are told so quickly, it is left alone, and used again when it is well."""

from __future__ import annotations

import socket
import time

import pytest
from harness.http1 import Closed
from harness.parallel import at_once
from harness.unwell import Unwell
from harness.wait import until

BODY = b'{"order": 42}'
ADDRESSES = [f"127.0.{third}.{last}" for third in (0, 1) for last in range(2, 252)]


@pytest.fixture
def upstream():
    with Unwell() as server:
        yield server


def quick(document) -> None:
    """Shorter times than shipped, in the same proportions."""
    (route,) = document.virtual_host["routes"]
    assert route["route"]["timeout"] == "15s"
    route["route"]["timeout"] = "0.5s"
    outliers = document.cluster["outlier_detection"]
    assert (outliers["base_ejection_time"], outliers["max_ejection_time"]) == ("10s", "60s")
    outliers.update(interval="0.1s", base_ejection_time="0.5s", max_ejection_time="1s")
    (check,) = document.cluster["health_checks"]
    check.update(interval="0.2s", no_traffic_interval="0.2s", unhealthy_interval="0.2s")


def deliver(edge, number: int = 0):
    """One delivery, over a connection of its own; numbers have different addresses."""
    return edge.deliver(BODY, source=ADDRESSES[number % len(ADDRESSES)])


def deliveries(edge, count: int) -> list:
    return [deliver(edge, number).status for number in range(count)]


def cluster(edge, name: str) -> int:
    return edge.stats(f"^cluster.upstream.{name}$").get(f"cluster.upstream.{name}", 0)


def ejected(edge) -> int:
    return cluster(edge, "outlier_detection.ejections_active")


def flags(edge) -> set:
    """What the access log says went wrong."""
    return {each.get("flags") for each in edge.access_lines()}


def assert_tells_nothing(answer, status: int, body: bytes) -> None:
    """The sender learns that it shall come again, and nothing of what stands behind Envoy."""
    assert (answer.status, answer.body) == (status, body)
    assert_no_word_of_envoy(answer)


def assert_no_word_of_envoy(answer) -> None:
    names = {name.decode().lower() for name, _ in answer.headers}
    limits = {f"x-ratelimit-{what}" for what in ("limit", "remaining", "reset")}
    assert names <= {"content-length", "content-type", "date", "retry-after", "connection", *limits}


class TestDown:
    def test_senders_are_told_at_once_and_it_recovers(self, start):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        upstream = type("Nobody", (), {"port": port})
        edge = start(upstream, patch=quick)
        begun = time.monotonic()
        for number in range(10):
            answer = deliver(edge, number)
            assert_tells_nothing(answer, 503, b"Unavailable\n")
            assert answer.all("retry-after") == ["30"]
        assert time.monotonic() - begun < 5
        until(lambda: edge.access_lines()[9:], what="the access log")
        assert flags(edge) <= {"UF,URX", "UF", "UH"}

    def test_it_recovers_by_itself(self, start, upstream):
        edge = start(upstream, patch=quick)
        answer = deliver(edge)
        assert answer.status == 200
        assert_no_word_of_envoy(answer)
        port = upstream.port
        upstream.stop()
        until(lambda: deliver(edge).status == 503, what="its absence to show")
        with Unwell(port=port):
            until(lambda: deliver(edge, 1).status == 200, 10, "its return to show")


class TestSick:
    def test_its_own_failures_pass_and_then_it_is_left_alone(self, start, upstream):
        upstream.mood = "failing"
        edge = start(upstream, patch=quick)
        first = deliver(edge)
        assert (first.status, first.body) == (500, b"oops"), "the application's own words"
        until(lambda: deliveries(edge, 5) and ejected(edge), what="the ejection")
        with upstream.nothing():
            begun = time.monotonic()
            answer = deliver(edge, 9)
            assert time.monotonic() - begun < 0.4
        assert_tells_nothing(answer, 503, b"Unavailable\n")
        assert answer.all("retry-after") == ["30"]

    def test_a_health_check_that_only_connects_does_not_bring_it_back(self, start, upstream):
        def long_ejection(document):
            quick(document)
            document.cluster["outlier_detection"].update(base_ejection_time="30s", max_ejection_time="60s")

        upstream.mood = "failing"
        edge = start(upstream, patch=long_ejection)
        until(lambda: deliveries(edge, 5) and ejected(edge), what="the ejection")
        checks = cluster(edge, "health_check.success")
        until(lambda: cluster(edge, "health_check.success") > checks + 3, what="health checks")
        assert ejected(edge) == 1
        assert deliver(edge).status == 503

    def test_it_is_used_again_when_it_is_well(self, start, upstream):
        upstream.mood = "failing"
        edge = start(upstream, patch=quick)
        until(lambda: deliveries(edge, 5) and ejected(edge), what="the ejection")
        upstream.mood = "well"
        until(lambda: deliver(edge).status == 200, 10, "its recovery to show")
        assert set(deliveries(edge, 20)) == {200}

    def test_slow_is_a_timeout_and_then_left_alone(self, start, upstream):
        upstream.mood, upstream.delay = "slow", 1
        edge = start(upstream, patch=quick)
        assert_tells_nothing(deliver(edge), 504, b"Timeout\n")
        until(lambda: 503 in deliveries(edge, 6), what="the ejection")
        assert ejected(edge) == 1
        upstream.mood, upstream.delay = "well", 0
        until(lambda: deliver(edge).status == 200, 10, "its recovery to show")

    @pytest.mark.parametrize("mood", ["resetting", "closing"])
    def test_no_delivery_is_sent_twice(self, mood, start, upstream):
        """What broke off may have been done."""
        upstream.mood = mood
        edge = start(upstream, patch=quick)
        for number in range(4):
            assert_tells_nothing(deliver(edge, number), 503, b"Unavailable\n")
        assert len(upstream.requests) == 4

    def test_half_an_answer_is_none(self, start, upstream):
        upstream.mood = "half"
        edge = start(upstream, patch=quick)
        with pytest.raises((Closed, OSError)):
            deliver(edge)
        assert len(upstream.requests) == 1

    def test_a_sender_does_not_say_how_often_or_how_long(self, start, upstream):
        upstream.mood = "failing"
        edge = start(upstream, patch=quick)
        headers = {
            "x-envoy-retry-on": "5xx,reset,gateway-error",
            "x-envoy-max-retries": "5",
            "x-envoy-upstream-rq-timeout-ms": "1",
            "x-envoy-upstream-rq-per-try-timeout-ms": "1",
            "x-envoy-hedge-on-per-try-timeout": "true",
        }
        assert edge.deliver(BODY, headers.items()).status == 500
        assert len(upstream.requests) == 1

    def test_a_large_answer_passes(self, start, upstream):
        upstream.mood = "large"
        edge = start(upstream)
        answer = deliver(edge)
        assert (answer.status, len(answer.body)) == (200, 3000000)


class TestCircuitBreaker:
    def test_more_than_it_can_take_is_refused_at_once(self, start, upstream):
        def narrow(document):
            quick(document)
            (route,) = document.virtual_host["routes"]
            route["route"]["timeout"] = "10s"
            (breaker,) = document.cluster["circuit_breakers"]["thresholds"]
            assert (breaker["max_connections"], breaker["max_pending_requests"]) == (100, 100)
            breaker.update(max_connections=4, max_pending_requests=4)

        upstream.mood, upstream.delay = "slow", 2
        edge = start(upstream, patch=narrow)

        def timed(number: int):
            begun = time.monotonic()
            answer = deliver(edge, number)
            return answer, time.monotonic() - begun

        results = at_once(timed, range(40))
        refused = [(answer, seconds) for answer, seconds in results if answer.status == 503]
        assert len(refused) >= 20
        for answer, seconds in refused:
            assert_tells_nothing(answer, 503, b"Unavailable\n")
            assert answer.all("retry-after") == ["30"]
            assert seconds < 1.9, "without waiting for the application"
        assert cluster(edge, "upstream_rq_pending_overflow") == len(refused)
        assert {answer.status for answer, _ in results} == {200, 503}
        upstream.mood = "well"
        until(lambda: deliver(edge).status == 200, 10, "room for more")


class TestTwoHosts:
    @pytest.fixture
    def other(self):
        with Unwell() as server:
            yield server

    def start(self, start, upstream, other, more=None):
        def two(document):
            quick(document)
            document.cluster["outlier_detection"].update(base_ejection_time="30s", max_ejection_time="60s")
            hosts = document.cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
            address = {"socket_address": {"address": "127.0.0.1", "port_value": other.port}}
            hosts.append({"endpoint": {"address": address}})
            if more:
                more(document)

        return start(upstream, patch=two)

    def test_the_sick_one_is_left_alone(self, start, upstream, other):
        other.mood = "failing"
        edge = self.start(start, upstream, other)
        until(lambda: deliveries(edge, 10) and ejected(edge) == 1, what="the ejection")
        before = len(upstream.requests)
        with other.nothing():
            assert set(deliveries(edge, 30)) == {200}
        assert len(upstream.requests) == before + 30

    def test_a_dead_one_costs_no_delivery(self, start, upstream, other):
        """No connection came about, so that nothing can have been done: it goes to the other host."""

        def no_health_checks(document):
            del document.cluster["health_checks"]

        edge = self.start(start, upstream, other, no_health_checks)
        other.stop()
        assert set(deliveries(edge, 20)) == {200}
        assert len(upstream.requests) == 20
        assert cluster(edge, "upstream_rq_retry_success") > 0

    def test_health_checks_take_a_dead_one_out(self, start, upstream, other):
        edge = self.start(start, upstream, other)
        assert cluster(edge, "membership_healthy") == 2
        other.stop()
        until(lambda: cluster(edge, "membership_healthy") == 1, 10, "its absence to show")
        assert set(deliveries(edge, 20)) == {200}

    def test_where_all_are_sick_senders_are_told_at_once(self, start, upstream, other):
        upstream.mood = other.mood = "failing"
        edge = self.start(start, upstream, other)
        until(lambda: deliveries(edge, 10) and ejected(edge) == 2, what="the ejections")
        with upstream.nothing(), other.nothing():
            assert set(deliveries(edge, 10)) == {503}


def test_an_idle_connection_is_given_up_before_the_application_does(start, upstream):
    """Else it might close just as a delivery comes."""

    def hurry(document):
        (options,) = document.cluster["typed_extension_protocol_options"].values()
        assert options["common_http_protocol_options"]["idle_timeout"] == "4s"
        options["common_http_protocol_options"]["idle_timeout"] = "0.3s"

    edge = start(upstream, patch=hurry)
    assert deliver(edge).status == 200
    until(lambda: cluster(edge, "upstream_cx_idle_timeout") == 1, what="the connection to be given up")
    assert deliver(edge).status == 200
