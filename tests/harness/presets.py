"""The presets' files in src/providers."""

from __future__ import annotations

import json
import re

from harness.envoy import ROOT

FOLDER = ROOT / "src" / "providers"


def signature_of(name: str) -> dict:
    """A preset's signature block: its own, or that of the preset it names."""
    signature = json.loads((FOLDER / f"{name}.json").read_text())["signature"]
    return signature_of(signature) if isinstance(signature, str) else signature


def tolerance_of(name: str) -> tuple[int, int] | None:
    """The seconds that a preset accepts in the past and in the future, or None if no time is signed."""
    signature = signature_of(name)
    if "timestamp" not in signature and "{timestamp}" not in str(signature.get("format")):
        return None
    tolerance = signature.get("timestamp", {}).get("tolerance", "5m")
    sides = tolerance if isinstance(tolerance, dict) else {"past": tolerance, "future": tolerance}
    return seconds(sides.get("past", "5m")), seconds(sides.get("future", "5m"))


def seconds(duration: str) -> int:
    """The seconds of a duration such as `1h30m`."""
    pairs = re.findall(r"(\d+)([hms])", duration)
    assert "".join(map("".join, pairs)) == duration
    return sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in pairs)
