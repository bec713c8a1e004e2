"""The crates inside the module and inside the command line, as cargo resolves them for a build.

`cargo tree` resolves features as `cargo build` does. `cargo metadata` adds crates that only tests enable, so only
the folders of the sources are from there.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path

from cargo import ROOT, output

LOCKED = re.compile(r'^name = "(.+)"\nversion = "(.+)"\n(?:source = "(.+)"\n)?(?:checksum = "(.+)"\n)?', re.MULTILINE)
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


class Failure(Exception):
    """A release must not be built. The text says why, and what to do."""


@dataclass(frozen=True)
class Artifact:
    """A file of a release that cargo builds, and the options of that build."""

    file: str
    kind: str
    target: str
    features: tuple = ()


MODULE = Artifact("webhook_guard.wasm", "library", "wasm32-wasip1")
COMMAND = Artifact("webhook-guard", "application", "x86_64-unknown-linux-musl", ("cli",))


@dataclass
class Crate:
    """A package of cargo. `checksum` is the SHA-256 of its archive, or None for the guard itself."""

    name: str
    version: str
    licence: str
    checksum: str | None
    folder: Path
    dependencies: set

    @property
    def key(self) -> tuple:
        return self.name, self.version


@functools.lru_cache(maxsize=None)
def resolve(artifact: Artifact) -> list[Crate]:
    """The guard, then its crates in the order of their names. Crates that only run during a build are not among them."""
    chosen = ["--locked", "--target", artifact.target, "--features", ",".join(artifact.features)]
    tree = output(
        "cargo", "tree", *chosen, "--edges", "normal,no-proc-macro", "--prefix", "depth", "--no-dedupe", "--format", "{p}"
    )
    folders, checksums = sources(artifact), locked()
    crates, path = {}, []
    for line in tree.splitlines():
        depth, name, version = re.match(r"(\d+)(\S+) v(\S+)", line).groups()
        key = (name, version)
        if key not in crates:
            licence, folder = folders[key]
            crates[key] = Crate(name, version, licence, checksums[key], folder, set())
        path[int(depth):] = [key]
        if len(path) > 1:
            crates[path[-2]].dependencies.add(key)
    root, *others = crates.values()
    return [root, *sorted(others, key=lambda crate: crate.key)]


def sources(artifact: Artifact) -> dict:
    """The licence and the folder of each package that the build may need."""
    metadata = json.loads(output(
        "cargo", "metadata", "--locked", "--format-version", "1",
        "--filter-platform", artifact.target, "--features", ",".join(artifact.features),
    ))
    return {
        # The form with a slash precedes SPDX's expressions.
        (package["name"], package["version"]):
            ((package["license"] or "").replace("/", " OR "), Path(package["manifest_path"]).parent)
        for package in metadata["packages"]
    }


def locked() -> dict:
    """The checksum of each package of Cargo.lock."""
    checksums = {}
    for name, version, source, checksum in LOCKED.findall((ROOT / "Cargo.lock").read_text()):
        if source not in ("", CRATES_IO):
            raise Failure(f"Cargo.lock: {name} is from {source}: take it from crates.io")
        checksums[name, version] = checksum or None
    return checksums
