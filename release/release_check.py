"""Checks that a tag, the version in Cargo.toml and CHANGELOG.md agree, before a release is built.

    make release-check TAG=v0.1.0
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Optional

import changelog

ROOT = Path(__file__).resolve().parent.parent


def problems(tag: str, root: Path) -> list:
    """The problems that prevent a release of this tag, each with its fix."""
    version = changelog.package_version((root / "Cargo.toml").read_text())
    text = (root / "CHANGELOG.md").read_text()
    if not tag:
        return [f"TAG is not set: run `make release-check TAG=v{version}`"]
    found = []
    if tag != f"v{version}":
        found.append(
            f"the tag {tag!r} is not v{version}, the version in Cargo.toml: "
            f"delete the tag and create v{version}, or change `version` in Cargo.toml and run `cargo check`"
        )
    if not re.search(rf'^name = "webhook-guard"\nversion = "{re.escape(version)}"$', (root / "Cargo.lock").read_text(), re.M):
        found.append(f"Cargo.lock has another version of webhook-guard than {version}: run `cargo check`, and commit Cargo.lock")
    return found + changelog_problems(text, version)


def image_problems(image: Optional[str]) -> list:
    """The problem of the image's name, if the environment has one. It is empty if the repository has no such variable."""
    if image is None or re.fullmatch(r"(?!registry\.example\.com/)[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+", image):
        return []
    return [
        f"IMAGE is {image!r}, and not the name under which the image is published: set the repository's variable IMAGE, "
        "in the form registry.example.com/webhook-guard, without a tag"
    ]


def changelog_problems(text: str, version: str) -> list:
    """The problems of CHANGELOG.md for a release of this version."""
    heading = f"## [{version}] - YYYY-MM-DD"
    left = changelog.section(text, changelog.UNRELEASED)
    found = []
    if not changelog.section(text, version):
        found.append(
            f"CHANGELOG.md has no entries for {version}: below the heading `## [{changelog.UNRELEASED}]`, "
            f"add the heading `{heading}` with the date of the release"
        )
    elif not changelog.date(text, version):
        found.append(f"CHANGELOG.md has no valid date for {version}: write the heading as `{heading}`")
    elif left and re.search(r"^[-*] ", left, re.M):
        found.append(
            f"CHANGELOG.md has entries under `## [{changelog.UNRELEASED}]`, which the notes of {version} would not list: "
            f"move them below `## [{version}]`"
        )
    return found


def main() -> None:
    found = problems(os.environ.get("TAG", ""), ROOT) + image_problems(os.environ.get("IMAGE"))
    for each in found:
        print(f"release-check: {each}", file=sys.stderr)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
