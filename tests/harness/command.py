"""The command `webhook-guard`, run as a user runs it."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import termios
from dataclasses import dataclass
from pathlib import Path

from harness.envoy import ROOT
from harness.polling import until

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


def run_on_terminal(*arguments, answer: str, env: dict | None = None) -> tuple[int, str]:
    """Runs it on a terminal of its own, and answers its one question. Returns its status and the text of the terminal."""
    environment = {"PATH": os.environ["PATH"], **(env or {})}
    process, terminal = pty.fork()
    if process == 0:
        # Any failure must not continue the tests in this second process.
        try:
            os.execve(BINARY, [str(BINARY), *map(str, arguments)], environment)
        finally:
            os._exit(127)
    text = b""

    def read() -> bool:
        """Reads what there is. Whether more may follow."""
        nonlocal text
        if not select.select([terminal], [], [], 0)[0]:
            return True
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # EIO: the command has ended.
            chunk = b""
        text += chunk
        return bool(chunk)

    def asks() -> bool:
        """Whether it shows its question, and has turned the echo off."""
        ended = not read()
        return ended or (text.endswith(b": ") and not termios.tcgetattr(terminal)[3] & termios.ECHO)

    try:
        until(asks, what=f"a question without echo after {arguments}")
        if text.endswith(b": "):
            os.write(terminal, answer.encode() + b"\n")
        until(lambda: not read(), what=f"the end of {arguments}")
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        process = 0
    finally:
        if process:
            os.kill(process, 9)
            os.waitpid(process, 0)
        os.close(terminal)
    return status, text.decode()
