"""gateway-production.yaml: TLS, and the application behind the gateway."""

from __future__ import annotations

import base64
import copy
import socket
import ssl
import tempfile
from pathlib import Path

import pytest

from harness.client import post, request
from harness.edge import EDGE
from harness.envoy import Document
from harness.http1 import Closed, Reader
from harness.istio import NAMESPACE, Installation, Proxy, application
from harness.polling import until
from harness.tls import Authority

BODY = b'{"order": 42}'
HOST = "orders.shop.svc.cluster.local"
CLUSTER = f"outbound|80||{HOST}"


class Production:
    """The gateway with the two files of a newcomer and gateway-production.yaml, and a certificate."""

    def __init__(self, istiod, folder: Path, upstream_port: int) -> None:
        self.authority = Authority()
        self.installed = Installation(istiod, folder, "gateway.yaml", "gateway-example.yaml", "gateway-production.yaml")
        # Objects of the last file replace those of the same name.
        by_path = {istiod.cluster.path(each): each for each in self.installed.applied}
        self.installed.applied = [*by_path.values(), self.certificate(), application(HOST, upstream_port)]

    def certificate(self) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            self.authority.write(Path(folder), "localhost")
            data = {
                name: base64.b64encode((Path(folder) / name).read_bytes()).decode() for name in ("tls.crt", "tls.key")
            }
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": "webhooks-certificate", "namespace": NAMESPACE},
            "data": data,
        }


@pytest.fixture(scope="module")
def production(istiod, upstream, tmp_path_factory):
    return Production(istiod, tmp_path_factory.mktemp("mounts"), upstream.port)


@pytest.fixture(scope="module")
def gateway(istiod, production):
    with production.installed as installed:
        with Proxy(istiod, "webhook-gateway", installed.tls_port) as running:
            yield running


def test_the_application_gets_signed_requests_only(gateway, production, upstream):
    tls = production.authority.context()
    with upstream.nothing():
        assert post(gateway.port, "/webhook", [], BODY, tls=tls).status == 401
    before, body = len(upstream.requests), bytes(range(250)) * 4000
    assert gateway.deliver(body, tls=tls).status == 200
    assert upstream.next(before).body == body


def test_a_health_check_needs_no_server_name(gateway, production):
    """Load balancers and the kubelet connect to an address."""
    tls = production.authority.context()
    tls.check_hostname = False
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as plain:
        with tls.wrap_socket(plain) as connection:
            connection.sendall(request("/healthz", body=None, method="GET"))
            assert Reader(connection).head().status == 200


def test_the_application_gets_the_address_of_the_client(gateway, production, upstream):
    before = len(upstream.requests)
    headers = [("x-real-ip", "192.0.2.1"), ("x-forwarded-for", "192.0.2.1")]
    assert gateway.deliver(headers=headers, tls=production.authority.context(), source="127.0.0.9").status == 200
    assert upstream.next(before).all("x-real-ip") == ["127.0.0.9"]


def test_tracing_does_not_change_a_request_id(gateway, production, upstream):
    """Some senders sign it. The mesh of the tests samples each request, and marks that in the id by default."""
    (manager,) = [gateway.manager()]
    assert manager["tracing"]["random_sampling"] == {"value": 100}
    before, identity = len(upstream.requests), "0a1b2c3d-4e5f-4a7b-8c9d-0e1f2a3b4c5d"
    headers = [("x-request-id", identity)]
    assert gateway.deliver(headers=headers, tls=production.authority.context()).status == 200
    assert upstream.next(before).all("x-request-id") == [identity]


@pytest.mark.parametrize("ciphers", ["AES128-SHA", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA"])
def test_weak_ciphers_fail_in_the_handshake(gateway, production, ciphers):
    with pytest.raises((OSError, Closed)):
        gateway.deliver(tls=production.authority.context(version=ssl.TLSVersion.TLSv1_2, ciphers=ciphers))


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tls_1_2_and_1_3_serve(gateway, production, version):
    tls = production.authority.context(version=ssl.TLSVersion[version])
    assert gateway.deliver(tls=tls).status == 200


def test_a_new_certificate_needs_no_restart(gateway, production, istiod):
    old = production.authority.context()
    istiod.cluster.apply([production.certificate()])
    assert gateway.deliver(tls=production.authority.context()).status == 200
    production.authority = Authority()
    istiod.cluster.apply([production.certificate()])

    def accepted(tls) -> bool:
        try:
            return gateway.deliver(tls=tls).status == 200
        except ssl.SSLError:
            return False

    until(lambda: accepted(production.authority.context()), what="the certificate of the new authority")
    assert not accepted(old)


def test_the_cluster_has_the_limits_of_edge_yaml(gateway):
    (cluster,) = [
        each["cluster"]
        for part in gateway.dump()["configs"]
        for each in part.get("dynamic_active_clusters", [])
        if each["cluster"]["name"] == CLUSTER
    ]
    edge = Document(EDGE.read_text()).cluster
    (thresholds,) = edge["circuit_breakers"]["thresholds"]
    del thresholds["track_remaining"]  # only for metrics
    assert cluster["circuit_breakers"]["thresholds"] == [thresholds]
    here = cluster["outlier_detection"]
    expected = {key: value for key, value in edge["outlier_detection"].items() if key in here}
    assert {key: here[key] for key in expected} == expected
    assert set(edge["outlier_detection"]) - set(here) == NOT_IN_ISTIO
    assert cluster["common_lb_config"]["healthy_panic_threshold"] == {}
    assert cluster["connect_timeout"] == edge["connect_timeout"]


NOT_IN_ISTIO = {"max_ejection_time", "successful_active_health_check_uneject_host"}


def test_the_route_has_the_timeout_and_the_retries_of_edge_yaml(gateway):
    (route,) = [
        route["route"]
        for part in gateway.dump()["configs"]
        for config in part.get("dynamic_route_configs", [])
        for host in config["route_config"]["virtual_hosts"]
        for route in host["routes"]
        if route.get("route", {}).get("cluster") == CLUSTER
    ]
    edge = copy.deepcopy(Document(EDGE.read_text()).virtual_host["routes"][0]["route"])
    assert route["timeout"] == edge["timeout"]
    assert route["retry_policy"]["retry_on"] == edge["retry_policy"]["retry_on"]
    assert route["retry_policy"]["num_retries"] == edge["retry_policy"]["num_retries"]


def test_an_application_that_refuses_connections_is_unavailable(gateway, production, upstream, istiod):
    """This test is the last, because it ends the application."""
    upstream.stop()
    tls = production.authority.context()
    answer = gateway.deliver(tls=tls)
    assert (answer.status, answer.body, answer.get("retry-after")) == (503, b"Unavailable\n", "30")

    def ejected() -> bool:
        assert gateway.deliver(tls=tls).status == 503
        return gateway.access_lines()[-1]["flags"] == "UH"

    until(ejected, what="the ejection of the host")
