"""Fixtures: func-e with the shipped envoy.yaml, each with an upstream."""

from __future__ import annotations

import pytest

from harness.func_e import FuncE
from harness.upstream import Upstream


@pytest.fixture
def upstream():
    """An upstream of the test's own: HTTP/1.1, keeps every byte, answers 200."""
    with Upstream() as server:
        yield server


@pytest.fixture
def start(request, tmp_path, upstream):
    """Starts func-e: `start(VARIABLE=value)`. It ends with the test."""

    def start(**env) -> FuncE:
        running = FuncE(upstream.port, tmp_path, **env)
        request.addfinalizer(running.stop)
        return running.start()

    return start
