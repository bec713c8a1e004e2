"""Builds the files of a release into target/dist.

    make dist                                       with the placeholder of an image's name
    make dist IMAGE=registry.example.com/guard      with the name under which the image will be published

Equal commits and equal IMAGEs give equal bytes, on any machine with the pinned Rust.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import image
import notes

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "target" / "dist"
MODULE = ROOT / "target" / "wasm32-wasip1" / "release" / "webhook_guard.wasm"
SUMS = "SHA256SUMS"


def main() -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir(parents=True)
    module = DIST / MODULE.name
    shutil.copyfile(MODULE, module)
    digest = image.write(module.read_bytes(), DIST / "webhook-guard-image.tar")
    (DIST / "image-digest.txt").write_text(f"{digest}\n")
    for name in ("LICENSE", "envoy/webhook-guard.schema.json"):
        shutil.copyfile(ROOT / name, DIST / Path(name).name)
    notes.write(DIST, os.environ["IMAGE"])
    write_sums(DIST)
    print(f"target/dist has {len(os.listdir(DIST))} files, and the image's digest is {digest}")


def write_sums(folder: Path) -> None:
    """Writes the SHA-256 of each file, in the format of sha256sum."""
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(folder.iterdir()) if file.name != SUMS
    ]
    (folder / SUMS).write_text("".join(lines))


if __name__ == "__main__":
    main()
