"""Fixtures: Sigstore with keys of our own, a signed release, and the page that says how to verify it."""

from __future__ import annotations

import shutil

import pytest

from harness import own_network
from harness.envoy import MODULE
from harness.signed_release import Page, Release, succeeds
from harness.sigstore import Sigstore


def pytest_sessionstart() -> None:
    own_network.enter()


@pytest.fixture(scope="session")
def sigstore(tmp_path_factory):
    with Sigstore(tmp_path_factory.mktemp("sigstore")) as sigstore:
        yield sigstore


@pytest.fixture(scope="session")
def page() -> Page:
    return Page()


@pytest.fixture(scope="session")
def release(tmp_path_factory, sigstore):
    """A release that the workflow has built, pushed and signed. Tests do not change it."""
    release = Release(tmp_path_factory.mktemp("release"), sigstore)
    release.build(MODULE.read_bytes())
    release.push()
    succeeds(release.sign())
    return release


@pytest.fixture
def downloads(release, tmp_path):
    """A copy of the files, as a user has them."""
    return shutil.copytree(release.files, tmp_path / "downloads")
