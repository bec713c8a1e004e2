"""Writes RELEASE-NOTES.md: the changes of a version, and all that its users need to verify and run the files.

The notes are the section of the version in CHANGELOG.md, and parts of README.md in this folder with the values of this
release.
"""

from __future__ import annotations

import re
from pathlib import Path

import changelog

ROOT = Path(__file__).resolve().parent.parent
NAME = "RELEASE-NOTES.md"
PARTS = ("Files", "Verify", "Pull and run", "Upgrade", "Roll back", "Support")


def write(folder: Path, image: str) -> None:
    """Writes the notes into the folder, which has the image's digest and the module."""
    version = changelog.package_version((ROOT / "Cargo.toml").read_text())
    history = (ROOT / "CHANGELOG.md").read_text()
    values = {
        "TAG": f"v{version}",
        "IMAGE": image,
        "DIGEST": (folder / "image-digest.txt").read_text().strip(),
    }
    if not changelog.date(history, version):
        print(f"{NAME} has the entries under Unreleased, because CHANGELOG.md has no dated section for {version}")
    page = (ROOT / "release" / "README.md").read_text()
    (folder / NAME).write_text(notes(version, history, page, values))


def notes(version: str, history: str, page: str, values: dict) -> str:
    """The notes, made of the changelog, the page about releases, and the values of this release."""
    date = changelog.date(history, version)
    changes = changelog.section(history, version if date else changelog.UNRELEASED) or "No entries."
    title = f"# webhook-guard {version}" + (f", {date}" if date else "")
    draft = f"**Not a release:** CHANGELOG.md has no dated section for {version}. These are the unreleased changes.\n\n"
    parts = [part(page, name) for name in PARTS]
    contents = " · ".join(f"[{name}](#{name.lower().replace(' ', '-')})" for name in (*PARTS, "Changes"))
    text = "\n\n".join([title, contents if date else draft + contents, *parts, "## Changes", changes]) + "\n"
    return with_links_that_lead_somewhere(with_values(text, values))


def part(page: str, name: str) -> str:
    """A section of the page, with its heading."""
    _, following = page.split(f"\n## {name}\n")
    text = following.split("\n## ")[0].strip("\n")
    return f"## {name}\n\n{text}"


def with_values(text: str, values: dict) -> str:
    """Replaces the examples in assignments of variables, such as `TAG=v0.1.0`, and the name of the image."""
    for name, value in values.items():
        text = re.sub(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
    return text.replace("registry.example.com/webhook-guard", values["IMAGE"])


def with_links_that_lead_somewhere(text: str) -> str:
    """Names the page of each link that leads out of the notes, because their reader may have no other page."""
    kept = {f"#{heading}" for heading in anchors(text)}

    def named(link: re.Match) -> str:
        words, target = link[1], link[2]
        if target in kept or target.startswith("https://"):
            return link[0]
        path = target.split("#")[0].replace("../", "") or "release/README.md"
        return words if words.strip("`") == path else f"{words} (`{path}`)"

    return re.sub(r"\[([^\]]*)\]\(([^)]*)\)", named, text)


def anchors(text: str) -> set:
    """The anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
