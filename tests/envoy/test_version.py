"""The version and the commit of the module, where users look for them."""

from __future__ import annotations

import json
import re
import subprocess

from harness import wasm
from harness.envoy import MODULE, ROOT


def record(module: bytes) -> dict:
    """The content of the section with the version. There is one."""
    (content,) = wasm.custom(module, "webhook_guard.version")
    return json.loads(content)


def test_a_section_of_the_module_has_the_version_and_the_commit():
    module = MODULE.read_bytes()
    found = record(module)
    assert found.keys() == {"version", "commit", "modified"}
    (version,) = re.findall(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert found["version"] == version
    is_clone = subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True, timeout=60).returncode == 0
    assert re.fullmatch("[0-9a-f]{40}", found["commit"]) if is_clone else found["commit"] is None
    assert found["modified"] in (True, False)
