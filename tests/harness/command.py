"""The command `webhook-guard`, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.envoy import ROOT

# Made by `make command`.
BINARY = ROOT / "target" / "debug" / "webhook-guard"
# Only a command that hangs takes so long.
LIMIT = 120


@dataclass(frozen=True)
class Result:
    """The output and the exit status of a command."""

    status: int
    stdout: bytes
    stderr: str

    def json(self):
        """The one JSON document of the output."""
        return json.loads(self.stdout)


def run(*arguments, stdin: bytes = b"", env: dict | None = None, folder: Path | None = None) -> Result:
    """Runs it with these arguments and variables, without the variables of the tests, and without a terminal."""
    done = subprocess.run(
        [str(BINARY), *map(str, arguments)],
        input=stdin,
        env={"PATH": os.environ["PATH"], **(env or {})},
        cwd=folder,
        capture_output=True,
        timeout=LIMIT,
    )
    return Result(done.returncode, done.stdout, done.stderr.decode())
