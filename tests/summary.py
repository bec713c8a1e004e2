#!/usr/bin/env python3
"""Runs a command that runs cargo's tests, and closes with one line: `N passed, M failed, K skipped`.

The command's output goes through as it comes, and its status becomes ours; where it ran no test at
all, that is a failure too.
"""

from __future__ import annotations

import re
import subprocess
import sys

RESULT = re.compile(r"^test result: .*?(\d+) passed; (\d+) failed; (\d+) ignored")


def main() -> int:
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
    totals = [0, 0, 0]
    for raw in process.stdout:
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.flush()
        match = RESULT.match(raw.decode(errors="replace"))
        if match:
            totals = [total + int(count) for total, count in zip(totals, match.groups())]
    status = process.wait()
    passed, failed, skipped = totals
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return status or int(passed + failed == 0)


if __name__ == "__main__":
    sys.exit(main())
