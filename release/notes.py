"""Writes RELEASE-NOTES.md: what a release is, all that its users need to verify and run the files, and its changes.

The notes are parts of README.md in this folder with the values of this release, and the section of the version in
CHANGELOG.md. They name only files that the release has.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import changelog
import manifests
from crates import Failure

ROOT = Path(__file__).resolve().parent.parent
NAME = "RELEASE-NOTES.md"
CHANGES = "Changes"
PARTS = ("Files", "Verify", "Pull and run", CHANGES, "Upgrade", "Roll back", "Support")


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
        check_no_tag(version)
        print(f"{NAME} has the entries under Unreleased, because CHANGELOG.md has no dated section for {version}")
    page = (ROOT / "release" / "README.md").read_text()
    (folder / NAME).write_text(notes(version, history, page, values))


def check_no_tag(version: str) -> None:
    """Refuses notes without a date for a commit that has the tag of the version: these would be signed."""
    command = ["git", "tag", "--points-at", "HEAD"]
    tags = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    if f"v{version}" in tags:
        raise Failure(
            f"the commit has the tag v{version}, but CHANGELOG.md has no dated section for {version}: delete the tag, "
            f"move the entries below `## [{version}] - YYYY-MM-DD`, and tag that commit"
        )


def notes(version: str, history: str, page: str, values: dict) -> str:
    """The notes, made of the changelog, the page about releases, and the values of this release."""
    date = changelog.date(history, version)
    title = f"# webhook-guard {version}" + (f", {date}" if date else "")
    draft = f"**Not a release:** CHANGELOG.md has no dated section for {version}. These are the unreleased changes."
    image = f"The image is `{values['IMAGE']}@{values['DIGEST']}`."
    contents = " · ".join(f"[{name}](#{name.lower().replace(' ', '-')})" for name in PARTS)
    parts = [changes(version, history) if name == CHANGES else part(page, name) for name in PARTS]
    text = "\n\n".join([title, *([] if date else [draft]), contents, introduction(page), image, *parts]) + "\n"
    return with_names_of_the_release(with_values(text, values))


def changes(version: str, history: str) -> str:
    """The changes of a version. Those of the first release have nothing about builds from source before it."""
    text = changelog.section(history, version if changelog.date(history, version) else changelog.UNRELEASED) or "No entries."
    if {heading["name"] for heading in changelog.HEADING.finditer(history)} <= {changelog.UNRELEASED, version}:
        text = re.sub(r"^### (Changed|Fixed)\n.*?(?=^### |\Z)", "", text, flags=re.MULTILINE | re.DOTALL).strip("\n")
    return f"## {CHANGES}\n\n{text}"


def introduction(page: str) -> str:
    """The description of a release: the text of the page after the links to its sections."""
    return page.split("\n## ")[0].split("\n\n", 2)[2].strip("\n")


def part(page: str, name: str) -> str:
    """A section of the page, with its heading."""
    _, following = page.split(f"\n## {name}\n")
    text = following.split("\n## ")[0].strip("\n")
    return f"## {name}\n\n{text}"


def with_values(text: str, values: dict) -> str:
    """Replaces the examples in assignments of variables, such as `TAG=v0.1.0`, and the name of the image."""
    for name in ("TAG", "IMAGE"):
        text = re.sub(rf"^{name}=.*$", f"{name}={values[name]}", text, flags=re.MULTILINE)
    return text.replace("registry.example.com/webhook-guard", values["IMAGE"])


def with_names_of_the_release(text: str) -> str:
    """Names the page of each link that leads out of the notes, as the archive of manifests has it."""
    kept = {f"#{heading}" for heading in anchors(text)}

    def named(link: re.Match) -> str:
        words, target = link[1], link[2]
        if target in kept or target.startswith("https://"):
            return link[0]
        path = target.split("#")[0].replace("../", "") or "release/README.md"
        name = manifests.PAGES.get(path, path)
        return f"`{name}`" if words.strip("`") in (path, name) else f"{words} (`{name}`)"

    return re.sub(r"\[([^\]]*)\]\(([^)]*)\)", named, text)


def anchors(text: str) -> set:
    """The anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
