"""A failing application: senders get a quick answer, and Envoy ejects the host until it has recovered."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from harness.client import request
from harness.concurrently import at_once
from harness.envoy import SECRET
from harness.failing_upstream import LARGE, FailingUpstream, UnresponsivePort
from harness.http1 import Closed
from harness.polling import in_both_workers, until
from harness.sign import default

BODY = b'{"order": 42}'
MIB = 1024 * 1024
ADDRESSES = [f"127.0.{third}.{last}" for third in (0, 1) for last in range(2, 252)]


@pytest.fixture
def upstream():
    with FailingUpstream() as server:
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
    assert check == {
        "tcp_health_check": {},
        "timeout": "1s",
        "interval": "5s",
        "no_traffic_interval": "5s",
        "unhealthy_interval": "1s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
    }
    check.update(interval="0.2s", no_traffic_interval="0.2s", unhealthy_interval="0.2s")


def ejected_for_long(document) -> None:
    """Keeps a host ejected for the rest of a test."""
    quick(document)
    document.cluster["outlier_detection"].update(base_ejection_time="30s", max_ejection_time="60s")


def unchecked(document) -> None:
    """Without health checks, so that deliveries are what finds a host out."""
    ejected_for_long(document)
    del document.cluster["health_checks"]


def deliver(edge, number: int = 0):
    """One delivery, over a connection of its own; numbers have different addresses."""
    return edge.deliver(source=ADDRESSES[number % len(ADDRESSES)])


def deliveries(edge, count: int) -> list:
    return [deliver(edge, number).status for number in range(count)]


def cluster(edge, name: str) -> int:
    return edge.stats(f"^cluster.upstream.{name}$").get(f"cluster.upstream.{name}", 0)


def ejected(edge) -> int:
    return cluster(edge, "outlier_detection.ejections_active")


def flags(edge, count: int) -> set:
    """The errors in the access log, after it has `count` lines."""
    lines = until(lambda: edge.access_lines()[count - 1 :] and edge.access_lines(), what="the access log")
    assert len(lines) == count
    return {",".join(sorted(each["flags"].split(","))) for each in lines}


def had(upstream) -> int:
    """How many connections brought the host a request, or a part of one: health checks bring nothing."""
    return len([each for each in upstream.connections if each.bytes])


def assert_reveals_nothing(answer, status: int, body: bytes) -> None:
    """The answer asks the sender to retry, and reveals nothing about the upstream."""
    assert (answer.status, answer.body) == (status, body)
    assert_no_word_of_envoy(answer)


def assert_no_word_of_envoy(answer) -> None:
    names = {name.decode().lower() for name, _ in answer.headers}
    limits = {f"x-ratelimit-{what}" for what in ("limit", "remaining", "reset")}
    assert names <= {"content-length", "content-type", "date", "retry-after", "connection", *limits}


def assert_unavailable(answer) -> None:
    assert_reveals_nothing(answer, 503, b"Unavailable\n")
    assert answer.all("retry-after") == ["30"]


class TestDown:
    """Nothing comes about between Envoy and the application."""

    @pytest.mark.parametrize("how", [quick, unchecked], ids=["known", "not known yet"])
    def test_senders_get_an_answer_at_once(self, how, start):
        """The first senders, and those after the ejection."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        edge = start(type("Nobody", (), {"port": port}), patch=how)
        for number in range(10):
            assert_unavailable(deliver(edge, number))
        assert flags(edge, 10) == ({"UH"} if how is quick else {"UF,URX", "UH"})

    def test_an_unresponsive_port_times_out_soon(self, start):
        """Envoy tries three times, each for `connect_timeout`."""

        def hurry(document):
            unchecked(document)
            (route,) = document.virtual_host["routes"]
            route["route"]["timeout"] = "15s"
            assert document.cluster["connect_timeout"] == "1s"
            document.cluster["connect_timeout"] = "0.3s"

        with UnresponsivePort() as silent:
            edge = start(silent, patch=hurry)
            begun = time.monotonic()
            assert_unavailable(deliver(edge))
            # Less than the timeout of the route.
            assert 0.3 < time.monotonic() - begun < 15
            assert flags(edge, 1) == {"UF,URX"}

    def test_it_is_used_again_when_it_is_back(self, start, upstream):
        edge = start(upstream, patch=quick)
        answer = deliver(edge)
        assert answer.status == 200
        assert_no_word_of_envoy(answer)
        port = upstream.port
        upstream.stop()
        until(lambda: deliver(edge).status == 503, what="its absence to show")
        with FailingUpstream(port=port):
            until(lambda: deliver(edge, 1).status == 200, what="its return to show")
            assert set(deliveries(edge, 20)) == {200}


# For each behaviour of the application: the status and body of the answer, and the flag in the access log.
FAILURES = {
    "failing": (500, b"oops", "-"),
    "slow": (504, b"Timeout\n", "UT"),
    "resetting": (503, b"Unavailable\n", "UC"),
    "closing": (503, b"Unavailable\n", "UC"),
    "garbled": (503, b"Unavailable\n", "UPE"),
}


class TestFailing:
    @pytest.mark.parametrize("behaviour", FAILURES)
    def test_after_five_failures_in_a_row_it_is_left_alone(self, behaviour, start, upstream):
        """Envoy sends each delivery once, since an application may have handled one that broke off. It uses an application
        that has recovered again."""
        status, body, flag = FAILURES[behaviour]

        def hurry(document):
            quick(document)
            document.cluster["outlier_detection"].update(base_ejection_time="1s", max_ejection_time="2s")

        edge = start(upstream, patch=hurry)
        assert deliver(edge).status == 200
        upstream.behaviour, upstream.delay = behaviour, 1
        for number in range(5):
            assert ejected(edge) == 0
            assert_reveals_nothing(deliver(edge, number), status, body)
        until(lambda: ejected(edge) == 1, what="the ejection")
        assert_unavailable(deliver(edge, 9))
        assert len(upstream.requests) == 1 + 5
        assert flags(edge, 7) == {"-", flag, "UH"}
        upstream.behaviour, upstream.delay = "healthy", 0
        until(lambda: in_both_workers(lambda: deliver(edge).status == 200), what="its recovery to show")
        assert set(deliveries(edge, 20)) == {200}

    def test_a_good_answer_resets_the_count_of_failures(self, start, upstream):
        edge = start(upstream, patch=quick)
        for behaviour in ("failing", "healthy") * 2:
            upstream.behaviour = behaviour
            assert len(set(deliveries(edge, 4))) == 1
        assert ejected(edge) == 0

    def test_a_host_that_fails_again_at_once_is_ejected_for_longer(self, start, upstream):
        """Envoy forgets an ejection after a while. So the test must be quick, and tries five times."""

        def hurry(document):
            quick(document)
            document.cluster["outlier_detection"].update(interval="0.25s", max_ejection_time="2s")

        def send(number: int):
            return deliver(edge, number)

        def ejection() -> float:
            """How long the next one lasts."""
            until(lambda: at_once(send, range(8)) and ejected(edge), what="an ejection")
            begun = time.monotonic()
            until(lambda: not ejected(edge), what="its end")
            return time.monotonic() - begun

        upstream.behaviour = "failing"
        edge = start(upstream, patch=hurry)
        first = ejection()
        assert any(ejection() > first + 0.2 for _ in range(5))

    def test_a_health_check_that_only_connects_does_not_bring_it_back(self, start, upstream):
        upstream.behaviour = "failing"
        edge = start(upstream, patch=ejected_for_long)
        until(lambda: deliveries(edge, 5) and ejected(edge), what="the ejection")
        checks = cluster(edge, "health_check.success")
        until(lambda: cluster(edge, "health_check.success") > checks + 3, what="health checks")
        assert ejected(edge) == 1
        with upstream.nothing():
            assert deliver(edge).status == 503

    def test_half_an_answer_is_none(self, start, upstream):
        upstream.behaviour = "half"
        edge = start(upstream, patch=quick)
        with pytest.raises((Closed, OSError)):
            deliver(edge)
        assert len(upstream.requests) == 1

    def test_a_request_that_broke_off_is_not_sent_again(self, start):
        """The upstream reads only the headers. The body exceeds all buffers on the way."""
        with FailingUpstream("resetting", early=True) as upstream:
            edge = start(upstream, patch=quick)
            for number in range(4):
                answer = edge.deliver(b"x" * MIB, source=ADDRESSES[number])
                assert_reveals_nothing(answer, 503, b"Unavailable\n")
            assert (had(upstream), upstream.requests) == (4, [])
            assert upstream.size() < 4 * MIB

    def test_a_sender_cannot_choose_retries_or_timeouts(self, start, upstream):
        upstream.behaviour = "failing"
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
        upstream.behaviour = "large"
        edge = start(upstream)
        answer = deliver(edge)
        assert (answer.status, len(answer.body)) == (200, LARGE)


class TestKeepAlive:
    """Connections to the application are used again, and may end at the wrong moment."""

    def test_one_that_ends_as_a_delivery_comes(self, start, upstream):
        """The upstream may have processed the delivery. So Envoy does not retry, and the sender is asked to."""
        edge = start(upstream, patch=quick)
        sent = request("/webhook", default(SECRET, BODY), BODY)
        # One connection, so that one of Envoy's threads has it all, and one connection to the application.
        with edge.client() as client:
            assert client.ask(sent).status == 200
            upstream.behaviour = "closing"
            assert_unavailable(client.ask(sent))
            assert (had(upstream), len(upstream.requests)) == (1, 2)
            upstream.behaviour = "healthy"
            assert client.ask(sent).status == 200
        assert flags(edge, 3) == {"-", "UC"}

    def test_one_that_ended_before_is_not_used(self, start, upstream):
        upstream.behaviour = "closing after its answer"
        edge = start(upstream, patch=quick)
        for number in range(5):
            assert deliver(edge, number).status == 200
            until(lambda: cluster(edge, "upstream_cx_active") == 0, what="the connection's end to show")
        assert had(upstream) == 5

    def test_an_idle_one_is_given_up_before_the_application_does(self, start, upstream):
        """Otherwise the upstream could close a connection as a delivery arrives."""

        def hurry(document):
            (options,) = document.cluster["typed_extension_protocol_options"].values()
            assert options["common_http_protocol_options"]["idle_timeout"] == "4s"
            options["common_http_protocol_options"]["idle_timeout"] = "0.3s"

        edge = start(upstream, patch=hurry)
        assert deliver(edge).status == 200
        until(lambda: cluster(edge, "upstream_cx_idle_timeout") == 1, what="the connection to be given up")
        assert deliver(edge).status == 200


class TestCircuitBreaker:
    def test_more_than_it_can_take_is_refused_at_once(self, start, upstream):
        def narrow(document):
            quick(document)
            (route,) = document.virtual_host["routes"]
            route["route"]["timeout"] = "10s"
            (breaker,) = document.cluster["circuit_breakers"]["thresholds"]
            assert (breaker["max_connections"], breaker["max_pending_requests"]) == (100, 100)
            breaker.update(max_connections=4, max_pending_requests=4)

        upstream.behaviour, upstream.delay = "slow", 1.5
        edge = start(upstream, patch=narrow)

        answers = at_once(lambda number: deliver(edge, number), range(40))
        refused = [answer for answer in answers if answer.status == 503]
        assert len(refused) >= 20
        for answer in refused:
            assert_unavailable(answer)
        assert {answer.status for answer in answers} == {200, 503}
        assert cluster(edge, "upstream_rq_pending_overflow") == len(refused)
        assert cluster(edge, "upstream_cx_overflow") > 0
        assert len(upstream.requests) == 40 - len(refused)
        assert "UO" in flags(edge, 40)
        upstream.behaviour = "healthy"
        until(lambda: deliver(edge).status == 200, what="room for more")


class TestTwoHosts:
    @pytest.fixture
    def other(self):
        with FailingUpstream() as server:
            yield server

    def start(self, start, upstream, other, patch=ejected_for_long):
        def two(document):
            patch(document)
            hosts = document.cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
            address = {"socket_address": {"address": "127.0.0.1", "port_value": other.port}}
            hosts.append({"endpoint": {"address": address}})

        return start(upstream, patch=two)

    @pytest.mark.parametrize("behaviour", ["failing", "resetting"])
    def test_the_failing_one_is_left_alone(self, behaviour, start, upstream, other):
        """Envoy did not send the failed deliveries to another host."""
        other.behaviour, other.delay = behaviour, 1
        edge = self.start(start, upstream, other)
        statuses: list = []
        while statuses.count(FAILURES[behaviour][0]) < 5:
            assert len(statuses) < 40
            statuses.append(deliver(edge, len(statuses)).status)
        until(lambda: ejected(edge) == 1, what="the ejection")
        assert (len(upstream.requests), len(other.requests)) == (statuses.count(200), 5)
        with other.nothing():
            assert set(deliveries(edge, 30)) == {200}
        assert len(upstream.requests) + len(other.requests) == len(statuses) + 30

    @pytest.mark.parametrize("how", ["refuses", "says nothing"])
    def test_a_dead_one_costs_no_delivery(self, how, start, upstream, other):
        """No connection came about, so that nothing can have been done: it goes to the other host."""

        def hurry(document):
            unchecked(document)
            document.cluster["connect_timeout"] = "0.2s"
            (route,) = document.virtual_host["routes"]
            route["route"]["timeout"] = "15s"

        with contextlib.ExitStack() as ends:
            dead = ends.enter_context(UnresponsivePort()) if how == "says nothing" else other
            edge = self.start(start, upstream, dead, hurry)
            other.stop()
            assert set(deliveries(edge, 20)) == {200}
            assert len(upstream.requests) == 20
            assert cluster(edge, "upstream_rq_retry_success") > 0

    def test_health_checks_take_a_dead_one_out_and_in_again(self, start, upstream, other):
        edge = self.start(start, upstream, other)
        assert cluster(edge, "membership_healthy") == 2
        other.stop()
        until(lambda: cluster(edge, "membership_healthy") == 1, what="its absence to show")
        retries = cluster(edge, "upstream_rq_retry")
        assert set(deliveries(edge, 20)) == {200}
        assert cluster(edge, "upstream_rq_retry") == retries, "Envoy no longer tries it"
        with FailingUpstream(port=other.port) as again:
            until(lambda: cluster(edge, "membership_healthy") == 2, what="its return to show")
            assert set(deliveries(edge, 20)) == {200}
            assert len(again.requests) > 0

    def test_senders_get_503_at_once_if_all_hosts_fail(self, start, upstream, other):
        upstream.behaviour = other.behaviour = "failing"
        edge = self.start(start, upstream, other)
        until(lambda: deliveries(edge, 10) and ejected(edge) == 2, what="the ejections")
        with upstream.nothing(), other.nothing():
            for number in range(10):
                assert_unavailable(deliver(edge, number))
