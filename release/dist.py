"""Builds the files of a release into target/dist.

    make dist                                       for a look at the files
    make dist IMAGE=registry.example.com/guard      for a release, with the image's name
    make dist UNCOMMITTED=1                         of changed sources

Equal commits and equal IMAGEs give equal bytes, on every machine with the pinned Rust.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cargo
import command
import commit
import crates
import image
import inventory
import manifests
import notes

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "target" / "dist"
SUMS = "SHA256SUMS"


def main() -> None:
    name = os.environ["IMAGE"]
    is_committed = os.environ.get("UNCOMMITTED") != "1"
    if is_committed:
        commit.check_clone()
    shutil.rmtree(DIST, ignore_errors=True)
    step("compiling the module, for a minute")
    cargo.module()
    step("compiling the command line, for three minutes")
    cargo.command()
    step("writing target/dist")
    DIST.mkdir(parents=True)
    module = cargo.MODULE.read_bytes()
    if is_committed:
        commit.check_module(module)
    module = inventory.with_crates(module)
    (DIST / cargo.MODULE.name).write_bytes(module)
    digest = image.write(module, DIST / "webhook-guard-image.tar")
    (DIST / "image-digest.txt").write_text(f"{digest}\n")
    for file in ("LICENSE", "envoy/webhook-guard.schema.json"):
        shutil.copyfile(ROOT / file, DIST / Path(file).name)
    manifests.write(DIST / "webhook-guard-manifests.tar.gz", hashlib.sha256(module).hexdigest(), name, digest)
    inventory.write(DIST, module, cargo.COMMAND.read_bytes())
    command.write(DIST / f"{command.NAME}.tar.gz", cargo.COMMAND, [DIST / "LICENSE", DIST / inventory.NOTICES])
    notes.write(DIST, name)
    write_sums(DIST)
    for file in sorted(DIST.iterdir()):
        print(f"{file.stat().st_size:>10,}  target/dist/{file.name}")
    record = commit.record_of(module)
    print(f"version {record['version']}, commit {record['commit']}{', modified' if record['modified'] else ''}")
    print(f"the image's digest is {digest}")


def ignore_settings() -> None:
    """Removes what would change the bytes from the environment, also for the other programs that run here."""
    for name in set(os.environ) - set(cargo.clean()):
        del os.environ[name]
    # This precedes the wrapper in a configuration file of the user.
    os.environ["RUSTC_WRAPPER"] = ""


def step(text: str) -> None:
    print(f"make dist: {text}", flush=True)


def write_sums(folder: Path) -> None:
    """Writes the SHA-256 of each file, in the format of sha256sum."""
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(folder.iterdir()) if file.name != SUMS
    ]
    (folder / SUMS).write_text("".join(lines))


if __name__ == "__main__":
    # The same archives for every user.
    os.umask(0o022)
    ignore_settings()
    try:
        main()
    except crates.Failure as failure:
        sys.exit(f"make dist: {failure}")
    except subprocess.CalledProcessError as failure:
        sys.exit(f"make dist: {failure.cmd[0]} failed with the status {failure.returncode}")
