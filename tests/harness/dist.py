"""Builds of a release."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

IMAGE = "registry.example.com/shop/webhook-guard"


def make_dist(clone: Path, env: dict, before: tuple = (), **options) -> Path:
    """Runs `make dist` in a clone, without the variables of a make that runs this test."""
    env = {key: value for key, value in env.items() if not key.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        [*before, "make", "--no-print-directory", "dist", f"IMAGE={IMAGE}", f"PYTHON={sys.executable}"],
        cwd=clone, env=env, check=False, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return clone / "target" / "dist"
