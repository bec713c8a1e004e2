"""A gateway has no way around the guard where a sidecar without its AuthorizationPolicy has one."""

from __future__ import annotations

import json
import socket

import pytest

from harness.attacked_pod import ATTEMPTS
from harness.istio import MANAGER, NAMESPACE, check, listeners
from harness.polling import until
from harness.ports import free_ports


def test_each_chain_of_the_gateway_has_the_filters_of_http(gateway):
    (listener,) = [each for each in listeners(gateway.dump()) if str(gateway.port) in json.dumps(each["address"])]
    assert "default_filter_chain" not in listener
    assert [[each["name"] for each in chain["filters"]] for chain in listener["filter_chains"]] == [[MANAGER]]


@pytest.mark.parametrize("attempt", [each for each in ATTEMPTS if "TLS" not in each and "silence" not in each])
def test_the_gateway_rejects(gateway, attempt):
    answer = answered(gateway, ATTEMPTS[attempt] % b"/webhook")
    assert answer.split(b" ")[1] in (b"400", b"401"), answer


def answered(gateway, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_the_guard_judges_http_1_0(gateway):
    """Envoy's default answers it 426, before the guard."""
    answer = answered(gateway, b"POST /webhook HTTP/1.0\r\nhost: hooks.example.com\r\ncontent-length: 2\r\n\r\n{}")
    assert answer.startswith(b"HTTP/1.0 401 ") and answer.endswith(b"Invalid signature"), answer


@pytest.mark.parametrize("protocol", ["TCP", "TLS"])
def test_check_py_reports_a_server_of_another_gateway_that_is_not_for_http(istiod, gateway, protocol):
    objects = passing_on(*free_ports(1), protocol)
    istiod.apply(objects)
    try:
        until(lambda: ["not for HTTP" in each for each in check(gateway)] == [True], what="the finding")
    finally:
        for each in objects:
            istiod.cluster.delete(istiod.cluster.path(each))
    until(lambda: check(gateway) == [], what="the end of the finding")


def passing_on(port: int, protocol: str) -> list:
    """A Gateway for the same pods in another namespace, whose server passes all bytes on."""
    metadata = {"name": "of-another-team", "namespace": "default"}
    tls = {"tls": {"mode": "PASSTHROUGH"}} if protocol == "TLS" else {}
    server = {"port": {"number": port, "name": "other", "protocol": protocol}, "hosts": ["*"], "bind": "127.0.0.1", **tls}
    route = {"route": [{"destination": {"host": f"orders.{NAMESPACE}.svc.cluster.local", "port": {"number": 80}}}]}
    match = {"match": [{"port": port, **({"sniHosts": ["*"]} if tls else {})}]}
    return [
        {
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata,
            "spec": {"selector": {"istio": "webhook-gateway"}, "servers": [server]},
        },
        {
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
            "spec": {"hosts": ["*"], "gateways": ["of-another-team"], protocol.lower(): [{**match, **route}]},
        },
    ]
