"""The native policies around the guard: shield, TLS, timeouts, metrics and log."""

from __future__ import annotations

import json
import time

import pytest

from harness.client import ask
from harness.envoy import SECRET
from harness.envoy_gateway import FOLDER, NAMESPACE, PATIENCE, encoded
from harness.polling import until
from harness.sign import default
from harness.tls import Authority


@pytest.fixture(scope="module")
def proxy(installation, start):
    installation.gateway()
    installation.guard()
    proxy = start()
    until(lambda: (proxy.status(), proxy.deliver()) == (401, 200), PATIENCE, "401 and 200")
    return proxy


def test_the_shield_limits_an_address_whatever_others_send(proxy):
    """The bucket has 600 tokens, and gets 600 new ones each minute."""
    start, statuses = time.monotonic(), []
    for _ in range(13):
        statuses += [proxy.status(source="127.2.0.1") for _ in range(100)]
        for last in range(25):
            proxy.status(source=f"127.2.1.{last}")
    minutes = (time.monotonic() - start) / 60
    assert set(statuses) == {401, 429}
    assert statuses.count(401) <= 600 * (2 + int(minutes))
    assert proxy.deliver(source="127.2.0.2") == 200


def test_a_sender_may_speak_http_1_0(proxy):
    body = b'{"order": 42}'
    lines = [b"POST /webhook HTTP/1.0", b"host: hooks.example.com", b"content-length: %d" % len(body)]
    for secret, status in ((SECRET, 200), ("forged", 401)):
        signature = b"x-webhook-signature: " + default(secret, body)[0][1].encode()
        answer = ask(proxy.port, b"\r\n".join([*lines, signature, b"", b""]) + body, source="127.2.4.1")
        assert (answer.start.split()[0], answer.status) == (b"HTTP/1.0", status)


def test_the_shield_counts_requests_that_no_route_matches(proxy, installation):
    def hostname(document: dict) -> None:
        if document["kind"] == "HTTPRoute":
            document["spec"]["hostnames"] = ["hooks.example.com"]

    def statuses() -> set:
        return {proxy.status(source="127.2.2.1") for _ in range(100)}

    installation.gateway(hostname)
    try:
        until(lambda: proxy.deliver(source="127.2.2.2") == 404, PATIENCE, "a host without a route")
        assert statuses() == {401}
        until(lambda: 429 in statuses(), PATIENCE, "429")
    finally:
        installation.gateway()
        until(lambda: proxy.deliver(source="127.2.2.2") == 200, PATIENCE, "200")


def test_the_shield_writes_no_lines(proxy):
    until(lambda: lines(proxy), PATIENCE, "the access log")
    assert 429 not in {each["status"] for each in lines(proxy)}


def test_health_checks_and_requests_that_envoy_refuses_leave_no_lines(proxy):
    """All workers write into one buffer. So the lines of earlier requests would be there as soon as those of later ones are."""
    for _ in range(100):
        assert ask(proxy.port, b"GET / HTTP/1.0\r\n\r\n", source="127.2.3.1").status == 400
        assert proxy.status("/healthz", method="GET", source="127.2.3.2") == 200
    assert (proxy.status(source="127.2.3.3"), proxy.deliver(source="127.2.3.3")) == (401, 200)

    def logged(source: str) -> set:
        return {each["status"] for each in lines(proxy) if each["client"] == source}

    until(lambda: logged("127.2.3.3") == {401, 200}, PATIENCE, "the lines of the guard's answers")
    assert not logged("127.2.3.1") and not logged("127.2.3.2")


def test_the_access_log_has_the_verdict(proxy):
    assert proxy.deliver(source="127.2.0.3") == 200

    def found():
        return [each for each in lines(proxy) if each["client"] == "127.2.0.3"]

    line = until(found, PATIENCE, "a line of the access log")[0]
    assert (line["endpoint"], line["verdict"], line["secret_version"]) == ("orders", "accepted", "v1")
    assert line["event"] == "webhook_processed"
    assert not [each for each in proxy.log().splitlines() if "wasm log" in each and '"verdict":"accepted"' in each]


def lines(proxy) -> list:
    found = [each for each in proxy.log().splitlines() if each.startswith('{"bytes_received"')]
    return [json.loads(each) for each in found]


def test_the_metrics_have_labels_and_buckets(proxy):
    proxy.deliver(source="127.2.0.4")
    metrics = proxy.get("/stats/prometheus", port=19001)
    assert 'webhook_guard_requests_total{endpoint="orders",verdict="accepted",reason="accepted"}' in metrics
    assert 'webhook_guard_body_bytes_bucket{endpoint="orders",le="4194304"}' in metrics


def test_the_connection_manager_has_the_limits(proxy):
    manager = proxy.manager()
    assert manager["normalize_path"] is False and not manager.get("merge_slashes")
    assert manager["path_with_escaped_slashes_action"] == "KEEP_UNCHANGED"
    assert manager["request_headers_timeout"] == "10s" and manager["request_timeout"] == "30s"
    assert manager["max_request_headers_kb"] == 16
    assert manager["http2_protocol_options"]["max_concurrent_streams"] == 8
    assert manager["use_remote_address"] is True
    assert all(int(host["request_body_buffer_limit"]) == 1114112 for host in proxy.routes()["virtual_hosts"])


def test_the_guard_answers_health_checks_until_the_pod_drains(proxy, upstream):
    with upstream.nothing():
        assert proxy.status("/healthz", method="GET", source="127.2.0.7") == 200
        proxy.get("/healthcheck/fail", method="POST")
        try:
            assert proxy.status("/healthz", method="GET", source="127.2.0.7") == 503
        finally:
            proxy.get("/healthcheck/ok", method="POST")


def test_the_application_fails_and_envoy_answers_503(proxy, installation, upstream):
    installation.application("10.0.0.1", 1)
    try:
        until(lambda: proxy.deliver(source="127.2.0.5") == 503, PATIENCE, "503")
        answer = proxy.post(headers=default(SECRET, b"{}"), source="127.2.0.5")
        assert (answer.body, answer.get("retry-after")) == (b"Unavailable\n", "30")
    finally:
        installation.application("10.0.0.1", upstream.port)
        until(lambda: proxy.deliver(source="127.2.0.6") == 200, PATIENCE, "200")


def https(text: str) -> str:
    """gateway.yaml with the commented lines for HTTPS instead of those for HTTP."""
    before, rest = text.split("    protocol: HTTP\n    port: 80\n")
    commented, after = rest.split("    # Only routes of")
    return before + commented.replace("    # ", "    ") + "    # Only routes of" + after


def test_https_works_with_the_same_patches(installation, start, upstream, tmp_path):
    installation.remove()
    authority = Authority()
    authority.write(tmp_path, "localhost")
    installation.cluster.apply([{
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "webhooks-tls", "namespace": NAMESPACE},
        "data": {name: encoded((tmp_path / name).read_bytes()) for name in ("tls.crt", "tls.key")},
    }])
    installation.gateway(text=https((FOLDER / "gateway.yaml").read_text()).replace("port: 10080", "port: 10443"))
    installation.guard()
    proxy = start(port=10443, listening=False)
    tls = authority.context(alpn=["http/1.1"])
    until(proxy.is_ready, PATIENCE, "a listener")
    until(lambda: proxy.status(tls=tls) == 401, PATIENCE, "401")
    assert proxy.deliver(tls=tls) == 200
    large = b"x" * (1 << 20)
    assert proxy.deliver(large, tls=tls) == 200
    assert upstream.requests[-1].body == large
    assert proxy.manager()["normalize_path"] is False
