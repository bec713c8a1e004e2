"""The last release, as tests/upgrade/last-release has it: the module, its guards, and the verdicts on their requests."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

from harness.envoy import ROOT

FOLDER = ROOT / "tests" / "upgrade" / "last-release"
MODULE, GUARDS, VERDICTS = "webhook_guard.wasm", "guards.json", "verdicts.json"


def module(folder: Path) -> Path:
    """Unpacks the module into a folder."""
    file = folder / f"last-{MODULE}"
    file.write_bytes(read(MODULE))
    return file


def guards() -> dict:
    """The configurations by the guards' names, each with its variables and its requests."""
    return json.loads(read(GUARDS))


def configuration() -> dict:
    """The shipped configuration of production, without fields that only this tree knows."""
    return guards()["edge-yaml"]["configuration"]


def verdicts() -> dict:
    """The answers, log lines, forwarded requests and metrics of the release."""
    return json.loads(read(VERDICTS))


def read(name: str) -> bytes:
    return lzma.decompress((FOLDER / f"{name}.xz").read_bytes())


def write(name: str, content: bytes) -> None:
    (FOLDER / f"{name}.xz").write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


def write_json(name: str, value) -> None:
    write(name, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
