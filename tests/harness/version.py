"""The version and the commit in a module, and a copy of the module with another version."""

from __future__ import annotations

import json

from harness import wasm
from harness.envoy import MODULE


def record(module: bytes) -> dict:
    """The content of the section with the version. There is one."""
    (content,) = wasm.custom(module, "webhook_guard.version")
    return json.loads(content)


def commit(module: bytes) -> str:
    """The commit as metrics and log lines show it."""
    found = record(module)
    if found["commit"] is None:
        return "unknown"
    return found["commit"][:12] + ("-modified" if found["modified"] else "")


def labels(module: bytes) -> tuple:
    """The values of the labels commit and version."""
    return commit(module), record(module)["version"]


def text(module: bytes) -> str:
    """The version as log lines and the command line show it."""
    found = commit(module).replace("-modified", ", modified")
    return record(module)["version"] + (f" ({found})" if found != "unknown" else "")


def with_version(version: str) -> bytes:
    """The module with another version of the same length."""
    module = MODULE.read_bytes()
    own = record(module)["version"]
    assert len(version) == len(own) and version != own
    changed = module.replace(own.encode(), version.encode())
    assert record(changed) == {**record(module), "version": version}
    return changed
