"""A gateway has no way around the guard where a sidecar without its AuthorizationPolicy has one."""

from __future__ import annotations

import json
import socket

import pytest

from harness.attacked_pod import ATTEMPTS
from harness.istio import MANAGER, listeners


def test_each_chain_of_the_gateway_has_the_filters_of_http(gateway):
    (listener,) = [each for each in listeners(gateway.dump()) if str(gateway.port) in json.dumps(each["address"])]
    assert "default_filter_chain" not in listener
    assert [[each["name"] for each in chain["filters"]] for chain in listener["filter_chains"]] == [[MANAGER]]


@pytest.mark.parametrize("attempt", [each for each in ATTEMPTS if "TLS" not in each and "silence" not in each])
def test_the_gateway_rejects(gateway, attempt):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as connection:
        connection.sendall(ATTEMPTS[attempt] % b"/webhook")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split(b" ")[1] in (b"400", b"401", b"426"), answer
