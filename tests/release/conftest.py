"""Fixtures: the files of a release, as `make dist` writes them, and as their user unpacks them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.dist import make_dist
from harness.envoy import ROOT


@pytest.fixture(scope="session")
def dist() -> Path:
    """The folder with the files of a release of this tree, also if sources are changed."""
    return make_dist(ROOT, {**os.environ, "UNCOMMITTED": "1"})


@pytest.fixture(scope="session")
def downloads(dist, tmp_path_factory) -> Path:
    """A folder with the files of a release alone, and with its two archives unpacked."""
    folder = tmp_path_factory.mktemp("downloads")
    for file in dist.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    for file in folder.glob("*.tar.gz"):
        subprocess.run(["tar", "-xzf", file], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def program(downloads) -> Path:
    """The command line of a release."""
    return downloads / "webhook-guard-x86_64-unknown-linux-musl" / "webhook-guard"
