"""The image of a release: made and pushed by the programs in `release`."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from harness.envoy import ROOT
from harness.tools import tool

sys.path.append(str(ROOT / "release"))

import archive
import image
import push

__all__ = ["archive", "image", "pull", "push", "push_module"]


def pull(reference: str) -> dict:
    """The files of an image, as the kubelet mounts them: path -> content."""
    done = subprocess.run([tool("crane"), "export", reference, "-"], check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar}


def push_module(module: bytes, name: str, version: str) -> str:
    """Pushes an image of a module, as `make push` does, and returns the digest of its manifest."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.tar"
        image.write(module, file)
        return push.push(file, name, version, str(tool("crane"))).rpartition("@sha256:")[2]
