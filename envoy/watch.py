#!/usr/bin/env python3
"""Shows the guard's verdicts as they come, one line each; Ctrl-C ends it.

Of a running `make run` or `make run-edge`, the one on --port or the one that logged last; or of any Envoy's log on
standard input: tail -F envoy.log | envoy/watch.py -
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from run import GUARD_LINE, LOGS

COLOURS = {"accepted": 32, "challenged": 32, "denied": 31, "monitored": 33}
# What an endpoint may be called, at most, if the columns are to stay straight.
NAME = 16
# The fields that follow the columns, if a line has them.
SHOWN = ("secret_version", "delivery_id", "parameter", "hint")


class Failure(Exception):
    """There is nothing to watch; the text says what to do."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", nargs="?", choices=["-"], help="read a log from standard input")
    parser.add_argument("--port", type=int, help="the port on which the run listens")
    wanted = parser.parse_args()
    is_coloured = sys.stdout.isatty()
    try:
        for line in sys.stdin.buffer if wanted.input else follow(log_of(wanted.port)):
            shown = verdict(line, is_coloured)
            if shown:
                print(shown, flush=True)
    except KeyboardInterrupt:
        pass
    except Failure as failure:
        print(f"watch: {failure}", file=sys.stderr)
        return 1
    return 0


def log_of(port: int | None) -> Path:
    """The log of a run."""
    logs = sorted(LOGS.glob("*.log"), key=lambda log: log.stat().st_mtime)
    logs = [log for log in logs if port is None or log.stem == str(port)]
    if not logs:
        raise Failure("nothing runs that could be watched: start it by `make run` in another terminal")
    return logs[-1]


def follow(file: Path):
    """All lines of a file, and those that come, until somebody removes it."""
    with open(file, "rb") as opened:
        print(f"watching what Envoy on port {file.stem} decides", flush=True)
        kept = b""
        while True:
            kept += opened.read()
            *lines, kept = kept.split(b"\n")
            yield from lines
            if not lines:
                if os.fstat(opened.fileno()).st_nlink == 0:
                    print("it has ended", flush=True)
                    return
                time.sleep(0.1)


def verdict(line: bytes, is_coloured: bool) -> str | None:
    """The verdict in a line of Envoy's log, as a line for people; None where there is none."""
    before, found, text = line.decode(errors="replace").partition(GUARD_LINE)
    if not found or not text.startswith("{"):
        return None
    try:
        told = json.loads(text)
    except ValueError:
        # Half a line, as at the end of a log that was moved away.
        return None
    if told.get("event") != "webhook_processed":
        return None
    clock = before[1:].partition("]")[0].partition(" ")[2][:12]
    words = [
        clock,
        told["verdict"].ljust(10),
        str(told.get("status", "-")).ljust(3),
        told["endpoint"].ljust(NAME),
        told["reason"].ljust(24),
        f"{told['duration_ms']:8.3f} ms",
        f"{told['body_bytes']:8} B",
        told.get("client", "-"),
    ]
    # A sender's own words are quoted, so that the terminal obeys none of them.
    words += [f"{name}={json.dumps(told[name])}" for name in SHOWN if name in told]
    words += [f"and {told['suppressed']} more were denied"] if "suppressed" in told else []
    shown = "  ".join(words)
    return f"\033[{COLOURS.get(told['verdict'], 0)}m{shown}\033[0m" if is_coloured else shown


if __name__ == "__main__":
    sys.exit(main())
