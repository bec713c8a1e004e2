"""Pushes the image of target/dist to a registry, and prints its reference with the digest.

    make push IMAGE=registry.example.com/guard

The image gets one tag, the version in Cargo.toml. If the tag names another image already, the push fails. crane takes the
credentials of `docker login`, or those in the folder DOCKER_CONFIG.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

import changelog
import image

ROOT = Path(__file__).resolve().parent.parent
# The answers of registries without the tag. After another error, the tag may exist.
ABSENT = re.compile(r"MANIFEST_UNKNOWN|NAME_UNKNOWN|NOT_FOUND|status code 404")


class Failure(Exception):
    """The image is not pushed. The text says why."""


def main() -> None:
    version = changelog.package_version((ROOT / "Cargo.toml").read_text())
    try:
        print(push(Path(os.environ["ARCHIVE"]), os.environ["IMAGE"], version, os.environ["CRANE"]))
    except Failure as failure:
        sys.exit(f"push: {failure}")


def push(archive: Path, name: str, version: str, crane: str) -> str:
    """Pushes the image in an archive, and returns its reference with the digest."""
    if not re.fullmatch(r"[\w.-]+(:\d+)?(/[\w.-]+)+", name):
        raise Failure(f"IMAGE={name} is not the name of an image: write it without tag, as registry.example.com/webhook-guard")
    with tempfile.TemporaryDirectory() as folder:
        digest = unpack(archive, folder)
        published = digest_of(f"{name}:{version}", crane)
        if published not in (None, digest):
            raise Failure(
                f"{name}:{version} exists and is {published}, but {archive} has {digest}: set a new version in Cargo.toml,"
                " because a released version never changes"
            )
        reference = f"{name}@{digest}"
        run(crane, "push", folder, reference)
        if not published:
            run(crane, "tag", reference, version)
    if digest_of(f"{name}:{version}", crane) != digest:
        raise Failure(f"{name}:{version} is not {digest} after the push: something else has pushed this tag at the same time")
    return reference


def unpack(archive: Path, folder: str) -> str:
    """Unpacks an OCI image layout, and returns the digest of its only image."""
    try:
        files = read(archive)
        module = plugin(files)
    except FileNotFoundError:
        raise Failure(f"{archive} does not exist: run `make dist` first") from None
    except (AttributeError, KeyError, TypeError, ValueError, OSError, EOFError, tarfile.TarError, zlib.error):
        module = None
    # The build runs code of many crates, and this job has the rights to push and to sign. So no path and no other content
    # of the archive is used.
    if module is None or files != image.layout(module):
        raise Failure(f"{archive} is not an image of a module alone, as `make dist` writes it: run `make dist` again")
    for name, content in files.items():
        Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
        Path(folder, name).write_bytes(content)
    (manifest,) = json.loads(Path(folder, "index.json").read_text())["manifests"]
    return manifest["digest"]


def read(archive: Path) -> dict:
    """The files in a tar archive, each with its content."""
    with tarfile.open(archive) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar if each.isfile()}


def plugin(files: dict) -> bytes:
    """The module in the only layer of an image."""
    (described,) = json.loads(files["index.json"])["manifests"]
    (layer,) = json.loads(files[blob(described)])["layers"]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(files[blob(layer)]))) as tar:
        return tar.extractfile("plugin.wasm").read()


def blob(described: dict) -> str:
    return "blobs/" + described["digest"].replace(":", "/")


def digest_of(reference: str, crane: str) -> str | None:
    """The digest that a registry has for a tag, or nothing without such a tag."""
    try:
        return run(crane, "digest", reference)
    except Failure as failure:
        # Lines before that are of other attempts.
        if ABSENT.search(str(failure).rpartition("Error:")[2]):
            return None
        raise


def run(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"`{' '.join(command)}` failed with status {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
