"""Writes this tree's module, guards and verdicts into tests/upgrade/last-release, as the ones to compare later trees with.

    make baseline        at a release, in a clean clone

A module with changes that are not committed is refused, and so is one with a difference that differences.yaml does not list. So
a test that fails does not pass because of a new baseline alone.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from harness import last_release
from harness.envoy import MODULE, ROOT

from differences import DIFFERENCES, EMPTY, differences, shown, unlisted
from guards import guards
from trial import observe

sys.path.append(str(ROOT / "release"))

import commit
import crates


def main() -> None:
    try:
        commit.check_clone()
        commit.check_module(MODULE.read_bytes())
    except crates.Failure as failure:
        sys.exit(f"make baseline: {failure}")
    with tempfile.TemporaryDirectory() as folder:
        others = unlisted(differences(last_release.verdicts(), observe(last_release.guards(), MODULE, Path(folder))))
    if others:
        sys.exit(f"make baseline: list these in differences.yaml if they are intended: {shown(others)}")
    write()


def write() -> None:
    ours = guards()
    with tempfile.TemporaryDirectory() as folder:
        first, second = (observe(ours, MODULE, Path(folder)) for _ in range(2))
    # A verdict that differs from run to run cannot be compared with a later module's.
    unstable = differences(first, second)
    assert not unstable, unstable
    last_release.FOLDER.mkdir(exist_ok=True)
    last_release.write(last_release.MODULE, MODULE.read_bytes())
    last_release.write_json(last_release.GUARDS, ours)
    last_release.write_json(last_release.VERDICTS, first)
    DIFFERENCES.write_text(EMPTY)
    count = sum(len(each["requests"]) for each in ours.values())
    size = sum(file.stat().st_size for file in last_release.FOLDER.iterdir())
    print(f"{len(ours)} guards and {count} requests, in {size} bytes")


if __name__ == "__main__":
    main()
