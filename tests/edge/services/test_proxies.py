"""Real proxies before edge.yaml: nginx, HAProxy and Caddy, with the files of envoy/proxies/."""

from __future__ import annotations

import os

import pytest

from harness.client import Client, ask, chunked, post
from harness.edge import variant
from harness.envoy import SECRET, Document
from harness.full_config import endpoint
from harness.http1 import Closed
from harness.http2_client import Http2Client
from harness.polling import until
from harness.proxies import Caddy, HaProxy, HaProxyTcp, Nginx, Proxy
from harness.sign import default

BODY = b'{"order": 42}'
LARGEST = 1 << 20
HERE = "127.0.0.3"
VARIANTS = {Nginx: "forwarded", Caddy: "forwarded", HaProxy: "forwarded", HaProxyTcp: "proxy-protocol"}
EACH = pytest.mark.parametrize("kind", VARIANTS, ids=lambda kind: kind.file)
OVER_HTTP = pytest.mark.parametrize("kind", [Nginx, Caddy, HaProxy], ids=lambda kind: kind.file)


def configuration(kind: type) -> dict:
    """Endpoints that know addresses as the variant does. Paths below /app/ pass."""
    shipped = Document(variant(VARIANTS[kind])).guard["configuration"]["value"]
    way = {"client_address": shipped["endpoints"][0]["client_address"]}
    return {
        "health_check": shipped["health_check"],
        "unmatched": {"pass": ["/app/"]},
        "endpoints": [
            endpoint("any", **way),
            endpoint("here", allow=[f"{HERE}/32"], **way),
            {**endpoint("hosted", **way), "match": {"path": "/hosted", "host": "hooks.example.com"}},
            {
                **endpoint("mapped", **way),
                "signature": {"header": "X-Webhook-Signature", "message": "{url}\n{body}"},
                "public_url": "https://hooks.example.com/public/mapped",
            },
        ],
    }


@pytest.fixture
def edge_for(start, upstream):
    """Starts the Envoy that a kind of proxy needs."""
    return lambda kind, **how: start(upstream, configuration(kind), variant_name=VARIANTS[kind], **how)


def send(front: Proxy, path: str, headers=(), body: bytes = BODY, **how):
    """An unsigned request to the proxy."""
    return post(front.port, path, headers, body, tls=front.edge.authority.context(alpn=["http/1.1"]), **how)


def deliver(front: Proxy, path: str, headers=(), body: bytes = BODY, **how) -> int:
    """A signed one."""
    return send(front, path, [*default(SECRET, body), *headers], body, **how).status


@EACH
def test_what_is_signed_arrives_as_it_was_and_nothing_else_does(kind, edge_for, upstream):
    edge = edge_for(kind)
    body = os.urandom(LARGEST)
    with kind(edge) as front:
        with upstream.nothing():
            assert send(front, "/any").status == 401
            assert send(front, "/any", default("another secret", body), body).status == 401
        assert deliver(front, "/any", body=body) == 200
        pieces = chunked("/any", default(SECRET, body), [body[:7], body[7:70000], body[70000:]])
        assert ask(front.port, *pieces, tls=edge.authority.context(alpn=["http/1.1"])).status == 200
    assert [each.body == body for each in upstream.requests] == [True, True]


@EACH
def test_the_guard_sees_the_proxys_client(kind, edge_for, upstream):
    edge = edge_for(kind)
    forged = [("x-forwarded-for", HERE), ("x-real-ip", HERE), ("forwarded", f"for={HERE}")]
    with kind(edge) as front:
        assert deliver(front, "/here", source=HERE) == 200
        assert deliver(front, "/here", source="127.0.0.4") == 403
        assert deliver(front, "/here", forged, source="127.0.0.4") == 403
        assert deliver(front, "/any", forged, source="127.0.0.4") == 200
    assert upstream.requests[-1].all("x-real-ip") == ["127.0.0.4"]
    assert edge.count("here", "denied", "client_address_denied") == 2


@EACH
def test_paths_and_hosts_arrive_as_they_were_sent(kind, edge_for, upstream):
    edge = edge_for(kind)
    plain, ambiguous = ["/app/%7eb", "/app/a%20b", "/app/b?c=%2F//&d"], ["//any", "/app//any", "/app/a%2Fb"]
    with kind(edge) as front:
        assert [send(front, path).status for path in plain] == [200] * 3
        assert [each.path for each in upstream.requests] == plain
        with upstream.nothing():
            assert [deliver(front, path) for path in ambiguous] == [400] * 3
            assert deliver(front, "/hosted") == 404
        assert deliver(front, "/hosted", [("host", "hooks.example.com")]) == 200
    assert edge.count("-", "denied", "path_ambiguous") == 3
    assert until(lambda: len(seen_paths(edge)) > 6 and seen_paths(edge)[3:6], what="the access log") == ambiguous


@EACH
def test_a_host_keeps_its_case_and_its_port(kind, edge_for, upstream):
    edge = edge_for(kind)
    with kind(edge) as front:
        assert send(front, "/app/a", [("host", "Hooks.Example.com:8443")]).status == 200
        assert deliver(front, "/hosted", [("host", "Hooks.Example.com:8443")]) == 200
    assert [each.all("host") for each in upstream.requests] == [["Hooks.Example.com:8443"]] * 2


@EACH
@pytest.mark.parametrize(("path", "value"), [("/any", "v" * 15000), ("/app/" + "v" * 9000, "1")], ids=["header", "path"])
def test_headers_that_edge_yaml_accepts_arrive(path, value, kind, edge_for, upstream):
    edge = edge_for(kind)
    with kind(edge) as front:
        assert deliver(front, path, [("x-large", value)]) == 200
    (request,) = upstream.requests
    assert (request.path, request.all("x-large")) == (path, [value])


def seen_paths(edge) -> list:
    """The paths in the access log, without those of health checks."""
    return [each["path"] for each in edge.access_lines() if each["path"] != "/healthz"]


@EACH
def test_a_header_with_an_underscore_is_dropped(kind, edge_for, upstream):
    edge = edge_for(kind)
    with kind(edge) as front:
        assert deliver(front, "/any", [("x_custom", "1"), ("x-custom", "2")]) == 200
    (request,) = upstream.requests
    assert (request.all("x_custom"), request.all("x-custom")) == ([], ["2"])
    dropped = edge.stats("underscores").get("http1.dropped_headers_with_underscores", 0)
    assert dropped == (0 if kind is Nginx else 1), "nginx drops it itself"


@EACH
def test_the_guard_answers_a_body_that_is_too_large(kind, edge_for, upstream):
    edge = edge_for(kind)
    with kind(edge) as front, upstream.nothing():
        assert deliver(front, "/any", body=bytes(LARGEST + 1)) == 413
        assert edge.count("any", "denied", "body_too_large") == 1


@OVER_HTTP
def test_another_certificate_than_envoys_is_refused(kind, edge_for, upstream):
    """A server in Envoy's place gets no delivery."""
    edge = edge_for(kind)
    # HAProxy checks deliveries by the name in `sni`, and its health check by `verifyhost`.
    names = {
        Nginx: ["proxy_ssl_name localhost"],
        Caddy: ["tls_server_name localhost"],
        HaProxy: ["verifyhost localhost", "str(localhost)"],
    }[kind]
    front = kind(edge, {name: name.replace("localhost", "elsewhere.test") for name in names})
    with front, upstream.nothing():
        until(lambda: deliver(front, "/any") in (502, 503), what="the refusal")
        assert deliver(front, "/any") in (502, 503)
    assert edge.count("any", "accepted", "accepted") == 0


class TestNginxDefaults:
    """The failures without a line of the shipped file."""

    def test_it_speaks_http_1_0_and_opens_a_connection_for_each_delivery(self, edge_for, upstream):
        version = "" if Nginx.version() < (1, 29, 7) else "proxy_http_version 1.0;"
        edge = edge_for(Nginx)
        with Nginx(edge, {"proxy_http_version 1.1;": version}) as front:
            for size in (0, 10, LARGEST):
                assert deliver(front, "/any", body=bytes(size)) == 200
            assert send(front, "/any").status == 401
        assert [len(each.body) for each in upstream.requests] == [0, 10, LARGEST]
        assert {each["protocol"] for each in until(edge.access_lines)} == {"HTTP/1.0"}
        assert edge.stats("downstream_cx_total$")["http.webhooks.downstream_cx_total"] == 4

    def test_it_refuses_bodies_above_1_mib_itself(self, edge_for, upstream):
        edge = edge_for(Nginx)
        with Nginx(edge, {"client_max_body_size 2m;": ""}) as front, upstream.nothing():
            assert deliver(front, "/any", body=bytes(LARGEST + 1)) == 413
        assert edge.count("any", "denied", "body_too_large") == 0

    def test_a_path_in_proxy_pass_normalises(self, edge_for, upstream):
        """The guard then judges, and forwards, another path than the sender sent."""
        with Nginx(edge_for(Nginx), {"proxy_pass https://webhooks;": "proxy_pass https://webhooks/;"}) as front:
            assert send(front, "/app/a%2Fb//c").status == 200
            assert deliver(front, "//any") == 200, "the guard refuses this path without nginx"
            assert send(front, "//any").status == 401
        assert [each.path for each in upstream.requests] == ["/app/a/b/c", "/any"]

    def test_a_location_can_take_off_a_prefix(self, edge_for, upstream):
        changes = {"location / {": "location /public/ {", "proxy_pass https://webhooks;": "proxy_pass https://webhooks/;"}
        with Nginx(edge_for(Nginx), changes) as front:
            assert deliver(front, "/public/any") == 200
        assert [each.path for each in upstream.requests] == ["/any"]

    def test_the_guard_restores_a_prefix_that_a_location_takes_off(self, edge_for, upstream):
        """The sender signs the URL that it calls, and Envoy gets another path."""
        changes = {"location / {": "location /public/ {", "proxy_pass https://webhooks;": "proxy_pass https://webhooks/;"}
        signed = b"https://hooks.example.com/public/mapped?a=1%20\n" + BODY
        with Nginx(edge_for(Nginx), changes) as front:
            assert send(front, "/public/mapped?a=1%20", default(SECRET, signed)).status == 200
            assert send(front, "/public/mapped?a=2%20", default(SECRET, signed)).status == 401
            assert send(front, "/public/mapped?a=1%20", default(SECRET, signed.replace(b"/public", b""))).status == 401
        assert [each.path for each in upstream.requests] == ["/mapped?a=1%20"]

    def test_it_refuses_headers_above_8_kib_itself(self, edge_for, upstream):
        edge = edge_for(Nginx)
        with Nginx(edge, {"large_client_header_buffers 4 16k;": ""}) as front, upstream.nothing():
            assert deliver(front, "/any", [("x-large", "v" * 9000)]) == 400
            assert deliver(front, "/app/" + "v" * 9000) == 414
        assert edge.count("any", "accepted", "accepted") == 0

    def test_the_host_is_the_name_of_the_upstream(self, edge_for, upstream):
        with Nginx(edge_for(Nginx), {"proxy_set_header Host $http_host;": ""}) as front, upstream.nothing():
            assert deliver(front, "/hosted", [("host", "hooks.example.com")]) == 404

    def test_any_certificate_is_accepted(self, edge_for, upstream):
        changes = {"proxy_ssl_verify on;": "", "proxy_ssl_name localhost": "proxy_ssl_name elsewhere.test"}
        with Nginx(edge_for(Nginx), changes) as front:
            assert deliver(front, "/any") == 200

    def test_envoy_drops_a_header_with_an_underscore_that_nginx_lets_pass(self, edge_for, upstream):
        edge = edge_for(Nginx)
        with Nginx(edge, {"client_header_timeout 10s;": "underscores_in_headers on;"}) as front:
            assert deliver(front, "/any", [("x_custom", "1")]) == 200
        assert upstream.requests[0].all("x_custom") == []
        assert edge.stats("underscores").get("http1.dropped_headers_with_underscores", 0) == 1


def http2_status(front: Proxy, headers=()) -> int:
    signed = [(name.lower(), value) for name, value in default(SECRET, BODY)]
    with Http2Client(front.port, tls=front.edge.authority.context(alpn=["h2"])) as client:
        return client.ask("/any", [*signed, *headers], BODY)[0]


@pytest.mark.parametrize("kind", [HaProxy, HaProxyTcp], ids=lambda kind: kind.file)
def test_senders_may_use_http2(kind, edge_for, upstream):
    with kind(edge_for(kind)) as front:
        assert http2_status(front) == 200
    assert upstream.requests[0].body == BODY


@pytest.mark.parametrize("kind", [HaProxy, HaProxyTcp], ids=lambda kind: kind.file)
def test_a_sender_may_speak_http_1_0_behind_haproxy(kind, edge_for, upstream):
    edge = edge_for(kind)
    head = "".join(f"{name}: {value}\r\n" for name, value in default(SECRET, BODY))
    sent = f"POST /any HTTP/1.0\r\nhost: hooks.test\r\n{head}content-length: {len(BODY)}\r\n\r\n".encode() + BODY
    with kind(edge) as front:
        with Client(front.port, tls=edge.authority.context(alpn=["http/1.1"])) as client:
            assert client.ask(sent).status == 200
    assert upstream.requests[0].body == BODY


def test_nginx_speaks_http_1_1_for_a_sender_of_http_1_0(edge_for, upstream):
    edge = edge_for(Nginx)
    head = "".join(f"{name}: {value}\r\n" for name, value in default(SECRET, BODY))
    sent = f"POST /any HTTP/1.0\r\n{head}content-length: {len(BODY)}\r\n".encode()
    with Nginx(edge) as front:
        for host, status in ((b"", 400), (b"host: hooks.test\r\n", 200)):
            with Client(front.port, tls=edge.authority.context(alpn=["http/1.1"])) as client:
                assert client.ask(sent + host + b"\r\n" + BODY).status == status
    assert upstream.requests[0].body == BODY


def test_by_default_haproxy_checks_health_with_http_1_0(edge_for, upstream):
    changes = {"meth GET uri /healthz ver HTTP/1.1": "meth GET uri /healthz", "inter 2s": "inter 200ms"}
    with HaProxy(edge_for(HaProxy), changes) as front:
        until(lambda: deliver(front, "/any") == 503, what="HAProxy to take Envoy out")


def test_caddy_answers_other_names_itself(edge_for, upstream):
    class OneName(Caddy):
        name = "localhost"

    with OneName(edge_for(Caddy)) as front:
        assert deliver(front, "/any", [("host", f"localhost:{front.port}")]) == 200
        with upstream.nothing():
            answer = send(front, "/any", [("host", "hooks.test")])
            assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("kind", [HaProxy, HaProxyTcp, Caddy], ids=lambda kind: kind.file)
def test_an_envoy_whose_health_check_fails_gets_no_deliveries(kind, edge_for, upstream):
    edge = edge_for(kind)

    def answer() -> int:
        # HAProxy closes TCP connections for which it has no server.
        try:
            return deliver(front, "/any")
        except (Closed, OSError):
            return 503

    interval = "health_interval 2s" if kind is Caddy else "inter 2s"
    with kind(edge, {interval: interval.replace("2s", "200ms")}) as front:
        until(lambda: answer() == 200, what="a delivery")
        edge.get("/healthcheck/fail", "POST")
        until(lambda: answer() == 503, what="the proxy to take Envoy out")
        edge.get("/healthcheck/ok", "POST")
        until(lambda: answer() == 200, what="the proxy to use Envoy again")


class TestWhatCloudLoadBalancersWrite:
    """The forms of X-Forwarded-For that their documentation shows. The test itself is the load balancer."""

    @pytest.mark.parametrize(
        ("hops", "value", "status"),
        [
            (1, HERE, 200),
            (1, f"192.0.2.1, {HERE}", 200),
            (1, f"{HERE}:40000", 403),
            (2, f"{HERE}, 203.0.113.7", 200),
            (2, f"192.0.2.1, {HERE}, 203.0.113.7", 200),
            (2, f"{HERE}, 192.0.2.1, 203.0.113.7", 403),
            (1, f"{HERE}, 203.0.113.7", 403),
            (2, HERE, 403),
        ],
    )
    def test_the_address_that_counts(self, hops, value, status, edge_for, upstream):
        def patch(document):
            document.manager["xff_num_trusted_hops"] = hops

        edge = edge_for(Nginx, patch=patch)
        assert edge.post("/here", [*default(SECRET, BODY), ("x-forwarded-for", value)], BODY).status == status

    def test_the_standard_header_forwarded_does_not_count(self, edge_for, upstream):
        """AWS' HTTP APIs write this one."""
        edge = edge_for(Nginx)
        assert edge.post("/here", [*default(SECRET, BODY), ("forwarded", f"for={HERE}")], BODY).status == 403
        assert edge.count("here", "denied", "client_address_untrusted") == 1
