"""Fixtures: an API server with istiod, and the shipped gateway."""

from __future__ import annotations

import pytest

from harness.istio import Installation, Istiod, Proxy
from harness.kubernetes import Cluster
from harness.upstream import Upstream


@pytest.fixture(scope="session")
def istiod():
    with Cluster() as cluster, Istiod(cluster) as running:
        yield running


@pytest.fixture(scope="module")
def upstream():
    """The application, on a port of loopback."""
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def example(istiod, tmp_path_factory):
    """The objects that a newcomer applies: the module, gateway.yaml and gateway-example.yaml."""
    folder = tmp_path_factory.mktemp("mounts")
    with Installation(istiod, folder, "gateway.yaml", "gateway-example.yaml") as installed:
        yield installed


@pytest.fixture(scope="module")
def gateway(istiod, example):
    """The gateway of gateway-example.yaml."""
    with Proxy(istiod, "webhook-gateway", example.port) as running:
        yield running
