"""Processes that a test has started."""

from __future__ import annotations

import socket
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


def listens(process: subprocess.Popen, port: int, name: str, log=str) -> bool:
    """Whether a process listens on this loopback port. Fails if it has ended, with what `log` reads."""
    if process.poll() is not None:
        raise AssertionError(f"{name} ended with {process.returncode}:\n{log()}")
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
