"""Processes that a test has started."""

from __future__ import annotations

import subprocess


def end(process: subprocess.Popen, seconds: float) -> None:
    """Ends a process, kindly at first, and for so long; it may have ended already."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(seconds)
