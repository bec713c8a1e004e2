"""Writes the folder `envoy` as users of a release apply it: for this module, this image, and without a clone.

The archive also has the pages outside of `envoy` that its pages lead to.
"""

from __future__ import annotations

import posixpath
import re
import subprocess
from pathlib import Path

import archive

ROOT = Path(__file__).resolve().parent.parent

# Where the archive has the pages of other folders.
PAGES = {
    "src/cli/README.md": "envoy/command-line.md",
    "src/providers/README.md": "envoy/presets.md",
    "src/scheme/README.md": "envoy/schemes.md",
    "SECURITY.md": "envoy/security.md",
    "release/README.md": "envoy/release.md",
}
# They start what `make` has installed in a clone.
IN_A_CLONE = ("envoy/fetch.py", "envoy/run.py", "envoy/watch.py")

MODULE = "target/wasm32-wasip1/release/webhook_guard.wasm"
IMAGE = "registry.example.com/webhook-guard"
NONE = "0" * 64
IMAGE_DIGEST = re.compile(rf"({re.escape(IMAGE)}@sha256:)(?:{NONE}|…|\.\.\.)")
IMAGE_NAME = re.compile(rf"{re.escape(IMAGE)}(?![-\w])")
IMAGE_SUM = re.compile(rf'(oci://.*\n.*sha256: "){NONE}')
LINK = re.compile(r"\[([^\[\]]+)\]\(([^()\s]+)\)")


def write(file: Path, module: str, image: str, digest: str) -> None:
    """Writes the archive. `module` is the module's SHA-256, and `digest` that of the image: `sha256:...`."""
    listing = subprocess.run(["git", "ls-files", "-z", "envoy"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    paths = [path for path in listing.stdout.decode().split("\0") if path and path not in IN_A_CLONE]
    names = {**{path: path for path in paths}, **PAGES}
    files = {}
    for path, name in sorted(names.items(), key=lambda pair: pair[1]):
        text = (ROOT / path).read_text(encoding="utf-8")
        if path.endswith(".md"):
            text = with_links_of_the_archive(text, path, names)
        files[name] = pinned(text, module, image, digest).encode()
    executables = tuple(name for name, content in files.items() if content.startswith(b"#!"))
    file.write_bytes(archive.gzipped(archive.tar(files, executables)))


def pinned(text: str, module: str, image: str, digest: str) -> str:
    """The text with the values of this release in the place of placeholders."""
    text = text.replace(MODULE, "webhook_guard.wasm")
    text = IMAGE_SUM.sub(lambda found: found[1] + digest.removeprefix("sha256:"), text)
    text = IMAGE_DIGEST.sub(lambda found: found[1] + digest.removeprefix("sha256:"), text)
    return IMAGE_NAME.sub(lambda found: image, text.replace(NONE, module))


def with_links_of_the_archive(page: str, path: str, names: dict) -> str:
    """The page with links to files of the archive. Of a link to another file, the text remains."""

    def link(found: re.Match) -> str:
        text, (target, mark, anchor) = found[1], found[2].partition("#")
        if not target or ":" in target:
            return found[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        for known in (target, f"{target}/README.md"):
            if known in names:
                place = posixpath.relpath(names[known], posixpath.dirname(names[path]))
                return f"[{text}]({place}{mark}{anchor})"
        return text

    return LINK.sub(link, page)
