"""The presets' files in src/providers."""

from __future__ import annotations

import json

from harness.envoy import ROOT

FOLDER = ROOT / "src" / "providers"


def signature_of(name: str) -> dict:
    """A preset's signature block: its own, or that of the preset it names."""
    signature = json.loads((FOLDER / f"{name}.json").read_text())["signature"]
    return signature_of(signature) if isinstance(signature, str) else signature
