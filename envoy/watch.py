#!/usr/bin/env python3
"""Shows the guard's verdicts live, one line each. Ctrl-C stops it.

The script reads both logs of a running `make run` or `make run-edge`: of the one on --port, or the one that logged last.
It can also read the logs of any Envoy on standard input: tail -F envoy.log access.log | envoy/watch.py -
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
# The width of the column for the endpoint.
NAME = 16
# Fields after the columns, if a line has them.
SHOWN = ("secret_version", "delivery_id", "parameter", "hint", "content_type", "content_encoding", "content_length")
SHOWN += ("signatures", "signature_expected", "missing", "other_signatures", "versions_tried", "timestamp_age_s")
SHOWN += ("signed_url", "body_sha256")


class Failure(Exception):
    """No Envoy runs that could be watched. The text says what to do."""


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
        raise Failure("no Envoy of `make run` runs here: start one in another terminal")
    return logs[-1]


def follow(file: Path):
    """The lines of a file, and new ones, until the file is removed."""
    with open(file, "rb") as opened:
        print(f"watching the verdicts of Envoy on port {file.stem}", flush=True)
        kept = b""
        while True:
            kept += opened.read()
            *lines, kept = kept.split(b"\n")
            yield from lines
            if not lines:
                if os.fstat(opened.fileno()).st_nlink == 0:
                    print("Envoy has stopped", flush=True)
                    return
                time.sleep(0.1)


def verdict(line: bytes, is_coloured: bool) -> str | None:
    """The verdict in a line of Envoy's log or of the access log as readable text, or None."""
    text = line.decode(errors="replace")
    before = ""
    # Lines of the access log are objects.
    if not text.startswith("{"):
        before, _, text = text.partition(GUARD_LINE)
    if not text.startswith("{"):
        return None
    try:
        fields = json.loads(text)
    except ValueError:
        # An incomplete line, as at the end of a removed log.
        return None
    if fields.get("event") != "webhook_processed":
        return None
    clock = before[1:].partition("]")[0].partition(" ")[2] or fields["time"].partition("T")[2]
    words = [
        clock[:12],
        fields["verdict"].ljust(10),
        str(fields.get("status", "-")).ljust(3),
        fields["endpoint"].ljust(NAME),
        fields["reason"].ljust(24),
        f"{fields['duration_ms']:8.3f} ms",
        f"{fields.get('body_bytes', fields.get('bytes_received')):8} B",
        fields.get("client", "-"),
    ]
    # JSON escapes control characters that a sender wrote.
    words += [f"{name}={json.dumps(fields[name])}" for name in SHOWN if name in fields]
    words += [f"and {fields['suppressed']} more were rejected"] if "suppressed" in fields else []
    shown = "  ".join(words)
    return f"\033[{COLOURS.get(fields['verdict'], 0)}m{shown}\033[0m" if is_coloured else shown


if __name__ == "__main__":
    sys.exit(main())
