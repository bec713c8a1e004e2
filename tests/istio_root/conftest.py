"""Fixtures: a node with an API server and istiod."""

from __future__ import annotations

import pytest

from harness.istio import Istiod
from harness.kubernetes import Cluster
from harness.pod import NODE, own_node

# Envoy waits this long for the first bytes of a connection to find out the protocol.
DETECTION = {"protocolDetectionTimeout": "0.5s"}


@pytest.fixture(scope="session")
def istiod():
    own_node()
    with Cluster() as cluster, Istiod(cluster, DETECTION, NODE) as running:
        yield running
