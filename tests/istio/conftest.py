"""Fixtures: an API server with istiod, and the shipped gateway."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.istio import Istiod, Proxy, module_config_map, shipped
from harness.kubernetes import Cluster
from harness.ports import free_ports


@pytest.fixture(scope="session")
def istiod():
    with Cluster() as cluster, Istiod(cluster) as running:
        yield running


@pytest.fixture(scope="module")
def example(istiod, tmp_path_factory):
    """The objects that a newcomer applies: the module, gateway.yaml and gateway-example.yaml."""
    where = SimpleNamespace(folder=tmp_path_factory.mktemp("mounts"), port=free_ports(1)[0])
    where.applied = [module_config_map()]
    for name in ("gateway.yaml", "gateway-example.yaml"):
        where.applied += shipped(name, where.folder, where.port)
    istiod.cluster.apply(where.applied)
    yield where
    for each in where.applied:
        istiod.cluster.delete(istiod.cluster.path(each))


@pytest.fixture(scope="module")
def gateway(istiod, example):
    """The gateway of gateway-example.yaml."""
    with Proxy(istiod, "webhook-gateway", example.port) as running:
        yield running
