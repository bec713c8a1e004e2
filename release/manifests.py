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
    "src/cli/check/README.md": "envoy/rules.md",
    "src/providers/README.md": "envoy/presets.md",
    "src/scheme/README.md": "envoy/schemes.md",
    "SECURITY.md": "envoy/security.md",
    "release/README.md": "envoy/release.md",
}
# The examples of the command line's page. In the archive they are files of `envoy/examples`.
EXAMPLES = (
    "tests/cli/configurations/faulty.yaml",
    "tests/cli/requests/genuine.http",
    "tests/cli/requests/newline.http",
    "tests/cli/requests/order.json",
)
# They start what `make` has installed in a clone.
IN_A_CLONE = ("envoy/fetch.py", "envoy/run.py", "envoy/watch.py")

MODULE = "target/wasm32-wasip1/release/webhook_guard.wasm"
IMAGE = "registry.example.com/webhook-guard"
NONE = "0" * 64
# Texts of pages and manifests that are right in a clone only, with the ones for a release. None changes the number of
# lines, because patches count them.
IN_A_RELEASE = {
    MODULE: "webhook_guard.wasm",
    # The name of the module in an example, whose output is not that of the release's own.
    "tests/cli/modules/listed.wasm": "example.wasm",
    # The folders of `make run-edge` and of the tests. README.md installs the files of edge.yaml in the first one.
    "target/edge": "/etc/webhooks",
    "target/secrets": "/etc/webhooks/secrets",
    "# CHANGE: your registry, and the digest of the release.": (
        "# The image of this release. For a mirror, change the registry and keep the digest."
    ),
    "# CHANGE: your registry, and twice the digest of the release. For a file,": (
        "# The image of this release. For a mirror, change the registry and keep both digests. For a file,"
    ),
    **{example: f"envoy/examples/{posixpath.basename(example)}" for example in EXAMPLES},
}
# Sentences of a page about a clone.
IN_A_CLONE_ONLY = re.compile(r"^<!-- clone -->\n.*?^<!-- /clone -->\n+|<!-- clone -->.*?<!-- /clone -->", re.DOTALL | re.MULTILINE)
# The marks of tables that `make generate` writes.
COMMENT = re.compile(r"^<!-- [^\n]* -->\n", re.MULTILINE)
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
            text = COMMENT.sub("", IN_A_CLONE_ONLY.sub("", text))
            text = with_links_of_the_archive(text, path, names)
        files[name] = pinned(text, module, image, digest).encode()
    # As they are: a request has other line breaks.
    files.update((IN_A_RELEASE[example], (ROOT / example).read_bytes()) for example in EXAMPLES)
    executables = tuple(name for name, content in files.items() if content.startswith(b"#!"))
    file.write_bytes(archive.gzipped(archive.tar(files, executables)))


def pinned(text: str, module: str, image: str, digest: str) -> str:
    """The text with the values of this release in the place of placeholders."""
    for clone, release in IN_A_RELEASE.items():
        text = text.replace(clone, release)
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
                # A text that is the name of the file becomes its name in the archive.
                text = posixpath.basename(place) if text == posixpath.basename(known) else text
                return f"[{text}]({place}{mark}{anchor})"
        return text

    return LINK.sub(link, page)
