"""Fixtures: an API server, Envoy Gateway's controller, and Envoys of the shipped Gateway."""

from __future__ import annotations

import pytest

from harness import own_network
from harness.envoy_gateway import ENVOYS, NAMESPACE, Controller, Installation, Proxy
from harness.gateway_clients import Unsigned
from harness.kubernetes import Cluster
from harness.upstream import Upstream

# Kubernetes refuses endpoints on 127.0.0.1.
ADDRESS = "10.0.0.1"


def pytest_sessionstart() -> None:
    own_network.enter()
    own_network.add_address(ADDRESS)


@pytest.fixture(scope="session")
def cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def controller(cluster, tmp_path_factory):
    controller = Controller(cluster, tmp_path_factory.mktemp("controller"))
    controller.install()
    yield controller.start()
    controller.stop()


@pytest.fixture(scope="module")
def upstream():
    with Upstream(address=ADDRESS) as server:
        yield server


@pytest.fixture(scope="module")
def installation(cluster, controller, upstream):
    """The cluster with an application, on which a test applies the manifests."""
    installation = Installation(cluster)
    cluster.namespace(NAMESPACE)
    installation.application(ADDRESS, upstream.port)
    yield installation
    installation.remove()


@pytest.fixture(scope="module")
def start(request, cluster, tmp_path_factory):
    """Starts the Envoy of the Gateway, of the newest version by default. The next start, or the module, ends it."""
    started: list = []

    def start(version: str = ENVOYS[-1], port: int = 10080, **how) -> Proxy:
        for each in started:
            each.stop()
        proxy = Proxy(cluster, tmp_path_factory.mktemp("envoy"), version, port)
        started.append(proxy)
        request.addfinalizer(proxy.stop)
        return proxy.start(**how)

    return start


@pytest.fixture
def unsigned(proxy, upstream):
    """Sends unsigned requests during the whole test. None may reach the application."""
    before = len(upstream.requests)
    with Unsigned(proxy) as unsigned:
        yield unsigned
    assert unsigned.statuses <= {401, 403}
    assert all(each.body != b"unsigned" for each in upstream.requests[before:])
