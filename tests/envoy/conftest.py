"""Fixtures: an upstream, and an Envoy whose guard knows every kind of endpoint."""

from __future__ import annotations

import pytest

from harness.envoy import Envoy, reads_secrets
from harness.full_config import CONFIGURATION, patch
from harness.upstream import Upstream

# Older Envoys lack the features that these files test. test_shipped.py checks that they refuse them.
collect_ignore = [] if reads_secrets() else ["test_secret_sources.py", "test_incident_runbook.py"]


@pytest.fixture(scope="session")
def upstream():
    """The upstream of `envoy`: HTTP/1.1, keeps every byte."""
    with Upstream() as server:
        yield server


@pytest.fixture(scope="session")
def envoy(upstream):
    """An Envoy with the configuration in `full_config.py`. Its log must not contain a secret after all tests."""
    with Envoy(upstream.port, CONFIGURATION, patch=patch) as running:
        yield running
        assert_no_secrets(running)
        assert_no_reload(running)


@pytest.fixture
def upstream_alone():
    """An upstream that no other test uses."""
    with Upstream() as server:
        yield server


@pytest.fixture
def start(request):
    """Starts further Envoys: `start(upstream, configuration, ...)`. They end with the test."""
    return starter(request)


@pytest.fixture(scope="module")
def start_module(request):
    """The same for Envoys that all tests of a file share."""
    return starter(request)


def starter(request):
    def start(upstream, configuration=None, **options):
        running = Envoy(upstream.port, configuration, **options)
        request.addfinalizer(running.stop)
        request.addfinalizer(lambda: assert_no_secrets(running))
        return running.start()

    return start


def assert_no_secrets(running: Envoy) -> None:
    logged = running.log() + "".join(map(str, running.access_lines()))
    for secret in running.secrets():
        assert secret not in logged, "the log holds a secret"


def assert_no_reload(running: Envoy) -> None:
    reloads = running.stats("^wasm.webhook_guard.*reload")
    assert reloads and not any(reloads.values()), reloads
