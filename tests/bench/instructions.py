"""Compares the instructions of a request with tests/bench/instructions.json: `make instructions`.

Cargo runs this script with the path of the program tests/bench/instructions.rs. The counts are those of native code, from
the head of a request to its verdict, without the host. Hashes and curves have counts of their own, since they would hide
the rest. With `UPDATE=1`, the script writes the counts to the file.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.tools import tool

EXPECTED = Path(__file__).with_suffix(".json")
# A new compiler or crate changes a count a little.
TOLERANCE = 0.05
UPDATE = "run `make instructions UPDATE=1`, and commit tests/bench/instructions.json"
# Functions in which alone callgrind counts, on demand.
HASHES = ("sha2::sha*::compress*", "sha1::*compress*")
CURVES = ("webhook_guard::crypto::ed25519_match*", "webhook_guard::crypto::p256_match*")


def main() -> None:
    program = sys.argv[1]
    total, hashes, curves = count(program), count(program, *HASHES), count(program, *CURVES)
    both = count(program, *HASHES, *CURVES)
    counts = {name: parts(total[name], hashes[name], curves[name], both[name]) for name in total}
    if os.environ.get("UPDATE"):
        rows = (f"  {json.dumps(name)}: {json.dumps(each)}" for name, each in counts.items())
        EXPECTED.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    expected = json.loads(EXPECTED.read_text())
    print(f"{'hashes':>9}{'':9}{'curves':>9}{'':9}{'other':>9}{'':9}  instructions of a request, and their change")
    for name, each in counts.items():
        row = (f"{now:>9}{change(expected.get(name, {}).get(part), now):>9}" for part, now in each.items())
        print(f"{''.join(row)}  {name}")
    faults = list(differences(expected, counts))
    if faults:
        sys.exit("\n".join(faults))


def parts(total: int, hashes: int, curves: int, both: int) -> dict:
    """The instructions of a case in hashes, in curves without their hashes, and in everything else."""
    # With both lists, callgrind counts neither the hashes of a curve nor anything twice.
    curves = (curves + both - hashes) // 2
    return {"hashes": hashes, "curves": curves, "other": total - hashes - curves}


def change(before: int | None, now: int) -> str:
    return f"{now / before - 1:+.1%}" if before else ""


def count(program: str, *functions: str) -> dict:
    """The instructions of each case, by its name: in these functions only, if there are any."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "callgrind.out"
        valgrind = subprocess.run(
            [
                tool("valgrind"), "--tool=callgrind", f"--callgrind-out-file={output}", "--combine-dumps=yes",
                "--dump-before=instructions::start_count*", "--dump-before=instructions::stop_count*",
                *(f"--toggle-collect={function}" for function in functions), program,
            ],
            # The size of the environment would move the stack.
            env={}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        if valgrind.returncode != 0:
            sys.exit(f"callgrind failed with status {valgrind.returncode}:\n{valgrind.stderr}")
        names = valgrind.stdout.splitlines()
        counts = list(map(int, re.findall(r"^totals: (\d+)$", output.read_text(), re.MULTILINE)))
    # Each case has two counts: that of its preparation and its own. The last count is that of the program's end.
    if len(counts) != 2 * len(names) + 1:
        sys.exit(f"callgrind has {len(counts)} counts of {len(names)} cases: does it know the functions by their names?")
    return dict(zip(names, counts[1::2]))


def differences(expected: dict, counts: dict):
    """Messages: each has a difference, and how to fix it."""
    for name, each in counts.items():
        for part, now in each.items():
            before = expected.get(name, {}).get(part)
            if before is None:
                yield f"{name}: the case is new: {UPDATE}"
            elif now > before * (1 + TOLERANCE):
                yield f"{name}: {now - before} more ({part}): remove the cause, or if the change is worth them, {UPDATE}"
            elif now < before * (1 - TOLERANCE):
                yield f"{name}: {before - now} fewer ({part}): to keep that, {UPDATE}"
    for name in expected.keys() - counts.keys():
        yield f"{name}: the case is gone: {UPDATE}"


if __name__ == "__main__":
    main()
