"""Fixtures: Envoys with envoy/edge.yaml, each with an upstream."""

from __future__ import annotations

import pytest

from harness.edge import Edge
from harness.upstream import Upstream


@pytest.fixture
def upstream():
    """An upstream of the test's own: HTTP/1.1, keeps every byte, answers 200."""
    with Upstream() as server:
        yield server


@pytest.fixture
def start(request):
    """Starts an Envoy: `start(upstream, ...)` as for `Edge`; it ends with the test."""

    def start(upstream, configuration=None, **options) -> Edge:
        running = Edge(upstream.port, configuration, **options)
        request.addfinalizer(running.stop)
        return running.start()

    return start


@pytest.fixture
def edge(start, upstream) -> Edge:
    """An Envoy with edge.yaml as it is, but for ports and certificate."""
    return start(upstream)
