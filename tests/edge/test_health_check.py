"""Health checks of a load balancer: 200 from a worker whose guard is configured, 503 once Envoy is to drain."""

from __future__ import annotations

import struct
from collections import Counter

import pytest

from harness.client import request
from harness.edge import Edge
from harness.envoy import MODULE
from harness.full_config import endpoint
from harness.polling import in_both_workers, until
from harness.trapping_module import trapping

SHIELD = 600
PATH = "/healthz"
# The command LOCAL of PROXY protocol version 2: a health check of the load balancer itself.
LOCAL = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x20, 0, 0)


def check(edge: Edge, path: str = PATH, headers=(), **how):
    """The answer to a health check over a connection of its own."""
    with edge.client(**how) as client:
        return client.ask(request(path, headers, None, "GET"))


def status(edge: Edge, **how) -> int:
    return check(edge, **how).status


def guard_counts(edge: Edge) -> dict:
    """The guard's verdicts with their numbers."""
    return {name: value for name, value in edge.stats("webhook_guard_requests_total").items() if value}


class TestTheAnswer:
    def test_it_is_200_from_both_workers_whatever_the_host(self, edge, upstream):
        with upstream.nothing():
            for host in ("127.0.0.1:8443", "[::1]", "hooks.example.com", "x@y"):
                assert in_both_workers(lambda: status(edge, headers=[("host", host)]) == 200)
            answer = check(edge)
        assert answer.body == b"OK"
        assert answer.all("cache-control") == ["no-store"]
        assert answer.all("content-type") == ["text/plain"]

    def test_http2_and_head_get_it_too(self, edge, upstream):
        with upstream.nothing(), edge.http2_client() as client:
            assert client.ask(PATH, method="GET") == (200, b"OK")
            assert client.ask(PATH, method="HEAD") == (200, b"")

    def test_it_is_not_a_verdict_and_no_line_of_the_guard(self, edge):
        assert in_both_workers(lambda: status(edge) == 200)
        assert guard_counts(edge) == {}
        assert edge.guard_lines() == []
        assert edge.stats("tracing.health_check")["http.webhooks.tracing.health_check"] == 8

    def test_it_does_not_wait_for_a_body(self, edge, upstream):
        """Nor does anything of a body or of trailers reach the application."""
        with upstream.nothing(), edge.http2_client() as client:
            unfinished = client.headers(PATH, method="GET")
            assert client.answer(unfinished) == (200, b"OK")
            whole = client.headers(PATH, [("content-length", "3")], method="GET")
            client.data(whole, b"abc", end=True)
            assert client.answer(whole) == (200, b"OK")
            trailed = client.headers(PATH, [("te", "trailers")], method="GET")
            client.trailers(trailed, [("x-webhook-guard-verdict", "accepted")])
            assert client.answer(trailed) == (200, b"OK")
        assert guard_counts(edge) == {}

    def test_a_grpc_content_type_changes_nothing(self, edge, upstream):
        with upstream.nothing():
            assert status(edge, headers=[("content-type", "application/grpc")]) == 200
        assert guard_counts(edge) == {}


class TestOtherRequests:
    @pytest.mark.parametrize(
        "path, expected",
        [
            ("/healthz?full=1", 404),
            ("/healthz?", 404),
            ("/healthz/", 404),
            ("/HEALTHZ", 404),
            ("/%68ealthz", 404),
            ("/healthz;x", 404),
            ("//healthz", 400),
            ("/./healthz", 400),
            ("/healthz%00", 400),
            ("/x/..%2fhealthz", 400),
        ],
    )
    def test_another_spelling_is_not_a_health_check(self, path, expected, edge, upstream):
        with upstream.nothing():
            assert check(edge, path).status == expected
        (name,) = guard_counts(edge)
        assert name.endswith("unmatched" if expected == 404 else "path_ambiguous")

    @pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "DELETE", "get", "PURGE"])
    def test_another_method_is_not_a_health_check(self, method, edge, upstream):
        with upstream.nothing(), edge.http2_client() as client:
            assert client.ask(PATH, method=method)[0] == 404
        (name,) = guard_counts(edge)
        assert name.endswith("unmatched")

    def test_neither_an_upgrade_nor_connect_is_one(self, edge, upstream):
        upgrade = [("connection", "upgrade"), ("upgrade", "websocket")]
        with upstream.nothing(), edge.http2_client() as client:
            assert status(edge, headers=upgrade) == 403
            stream = client.headers(PATH, method="CONNECT", pseudo=[(":protocol", "websocket")])
            assert client.answer(stream)[0] != 200

    @pytest.mark.parametrize("listed", ["/", "/app/"])
    def test_where_other_paths_pass_none_of_this_path_does(self, listed, start, upstream):
        orders = endpoint("orders", path="/webhook")
        configuration = {"health_check": {"path": PATH}, "unmatched": {"pass": [listed]}, "endpoints": [orders]}
        edge = start(upstream, configuration)
        with upstream.nothing(), edge.http2_client() as client:
            assert client.ask(PATH, method="GET") == (200, b"OK")
            assert client.ask(PATH, body=b"{}")[0] == 404


class TestDraining:
    def test_checks_fail_while_deliveries_still_succeed(self, edge, upstream):
        assert in_both_workers(lambda: status(edge) == 200)
        edge.get("/healthcheck/fail", "POST")
        until(lambda: in_both_workers(lambda: status(edge) == 503), what="the failing health check")
        with edge.http2_client() as client:
            assert client.ask(PATH, method="HEAD")[0] == 503
        assert edge.deliver().status == 200
        assert edge.post("/webhook", [], b"{}").status == 401
        edge.get("/healthcheck/ok", "POST")
        until(lambda: in_both_workers(lambda: status(edge) == 200), what="the health check")

    def test_other_requests_to_the_path_still_reach_the_guard(self, edge, upstream):
        edge.get("/healthcheck/fail", "POST")
        until(lambda: in_both_workers(lambda: status(edge) == 503), what="the failing health check")
        with upstream.nothing():
            assert edge.post(PATH, [], b"{}").status == 404
            assert check(edge, "/healthz?x").status == 404
        assert edge.count("-", "denied", "unmatched") == 2

    def test_closing_listeners_alone_fails_no_check(self, edge):
        """So an operator fails the health check first."""
        edge.get("/drain_listeners?graceful", "POST")
        assert status(edge) == 200


class TestWithoutTheGuard:
    def test_a_worker_without_it_is_unhealthy(self, start, upstream):
        def patch(document):
            document.switch_off(document.virtual_host["routes"][0], "webhook_guard")

        edge = start(upstream, patch=patch)
        with upstream.nothing():
            assert status(edge) == 403

    def test_a_worker_whose_guard_traps_is_unhealthy(self, start, upstream, tmp_path):
        file = tmp_path / "trapping.wasm"
        file.write_bytes(trapping(MODULE.read_bytes(), "proxy_on_request_headers"))

        def patch(document):
            document.guard["vm_config"]["code"]["local"]["filename"] = str(file)

        edge = start(upstream, patch=patch)
        with upstream.nothing():
            assert status(edge) == 503


class TestFloods:
    def test_a_check_costs_its_own_address_a_token(self, edge, upstream):
        with upstream.nothing(), edge.http2_client(source="127.0.0.9") as flooding:
            statuses = Counter(flooding.ask(PATH, method="GET")[0] for _ in range(SHIELD + 200))
        assert set(statuses) == {200, 429} and statuses[200] >= SHIELD
        assert edge.rate_limited("shield") == statuses[429]
        assert status(edge) == 200

    def test_they_are_sampled_in_the_access_log(self, start, upstream):
        edge = start(upstream, sampled=True)
        with edge.http2_client() as client:
            for _ in range(SHIELD):
                assert client.ask(PATH, method="GET")[0] == 200
        assert edge.post(PATH, [], b"{}").status == 404
        # The last request is not a health check, so it has its line.
        lines = until(lambda: [each for each in edge.access_lines() if each["status"] == 404] and edge.access_lines())
        # One in a hundred: Eight times as many practically never happen.
        assert len(lines) <= 1 + 8 * SHIELD // 100

    def test_without_sampling_each_has_a_line(self, edge):
        assert status(edge) == 200
        (line,) = until(edge.access_lines)
        assert (line["details"], line["path"], line["status"]) == ("health_check", PATH, 200)
        assert line.get("verdict") is None


class TestBehindALoadBalancer:
    def test_one_that_writes_forwarded_for_checks_by_itself(self, start, upstream):
        edge = start(upstream, variant_name="forwarded")
        assert status(edge) == 200

    def test_one_that_speaks_the_proxy_protocol_sends_a_header_without_an_address(self, start, upstream):
        edge = start(upstream, variant_name="proxy-protocol")
        assert status(edge, first=LOCAL) == 200
        assert status(edge, first=b"PROXY UNKNOWN\r\n") == 200
