"""Writes this tree's module, guards and verdicts into tests/upgrade/last-release, as the ones to compare later trees with.

    make baseline        at a release, after `make build` from a clean commit
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness import last_release
from harness.envoy import MODULE

from differences import DIFFERENCES, EMPTY, differences
from guards import guards
from trial import observe


def main() -> None:
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
