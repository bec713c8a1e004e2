"""Envoy with envoy/rotating.yaml, and with copies of the files that it watches."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from harness.envoy import MODULE, ROOT, Envoy

ROTATING = ROOT / "envoy" / "rotating.yaml"
FOLDER = ROOT / "envoy" / "rotating"
# The values in the shipped files.
DEMO = "dev-only-webhook-secret"
DECOY = "nobody-ever-had-this-value"


class Rotating(Envoy):
    """An Envoy with its guard and its secrets in the folder `watched`."""

    arguments = ("--reject-unknown-dynamic-fields",)

    def __init__(self, upstream_port: int, **options) -> None:
        self._files = tempfile.TemporaryDirectory(prefix="webhook-guard-")
        self.watched = Path(self._files.name) / "rotating"
        shutil.copytree(FOLDER, self.watched)
        self.values = {DEMO, DECOY}
        guard = self.guard_file.read_text()
        self.guard_file.write_text(guard.replace(str(MODULE.relative_to(ROOT)), str(MODULE)))
        text = ROTATING.read_text().replace("envoy/rotating", str(self.watched))
        super().__init__(upstream_port, text=text, **options)

    @property
    def guard_file(self) -> Path:
        return self.watched / "guard.yaml"

    def held(self, name: str) -> str:
        """The secret in the file orders-`name`."""
        return (self.watched / f"orders-{name}").read_text().removesuffix("\n")

    def put(self, name: str, value: str) -> None:
        """Puts a secret there."""
        self.values.add(value)
        replace(self.watched / f"orders-{name}", value + "\n")

    def change_guard(self, old: str, new: str) -> None:
        """Changes a text in the guard's file."""
        text = self.guard_file.read_text()
        assert text.count(old) == 1, text
        replace(self.guard_file, text.replace(old, new))

    def secrets(self) -> set:
        return super().secrets() | self.values


def replace(file: Path, text: str) -> None:
    """Puts a text where Envoy watches for it, in one move."""
    scratch = file.with_name(f".{file.name}.new")
    scratch.write_text(text)
    os.replace(scratch, file)
