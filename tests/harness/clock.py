"""A wall clock that a test can set, of one Envoy."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".rs")


class Clock:
    """Builds the library into a folder. `environment` makes a process use the clock."""

    def __init__(self, folder: Path) -> None:
        library = folder / "libclock.so"
        options = ["--edition", "2024", "-O", "-C", "panic=abort", "--crate-type", "cdylib"]
        subprocess.run(["rustc", *options, "-o", str(library), str(SOURCE)], check=True)
        self._shift = folder / "shift"
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self._shift)}
        self.set(0)

    def set(self, seconds: float) -> None:
        """Sets it as many seconds ahead of the true time."""
        self._write(nanoseconds(seconds))

    def stop_at(self, seconds: float) -> None:
        """Stops it at this time, in seconds since 1970."""
        self._write(bytes(8) + nanoseconds(seconds))

    def _write(self, setting: bytes) -> None:
        scratch = self._shift.with_suffix(".new")
        scratch.write_bytes(setting)
        scratch.rename(self._shift)


def nanoseconds(seconds: float) -> bytes:
    return round(seconds * 10**9).to_bytes(8, "little", signed=True)
