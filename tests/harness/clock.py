"""A wall clock that a test can set, of one Envoy."""

from __future__ import annotations

import subprocess
import time
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
        self._write(round(seconds * 10**9))

    def set_to(self, seconds: float) -> None:
        """Sets it to this time, in seconds since 1970."""
        self._write(round(seconds * 10**9) - time.time_ns())

    def _write(self, nanos: int) -> None:
        scratch = self._shift.with_suffix(".new")
        scratch.write_bytes(nanos.to_bytes(8, "little", signed=True))
        scratch.rename(self._shift)
