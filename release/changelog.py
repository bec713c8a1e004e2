"""Reads the version in Cargo.toml, and the section of a version in CHANGELOG.md."""

from __future__ import annotations

import datetime
import re
from typing import Optional

UNRELEASED = "Unreleased"
HEADING = re.compile(r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>.*))?$", re.MULTILINE)


def package_version(cargo_toml: str) -> str:
    """The version of the package, as Cargo.toml has it."""
    (version,) = re.findall(r'^\[package\]\n(?:[^\[]*\n)?version = "([^"]+)"$', cargo_toml, re.MULTILINE)
    return version


def section(changelog: str, name: str) -> Optional[str]:
    """The text below the heading of a version, or None without such a heading."""
    headings = list(HEADING.finditer(changelog))
    for heading, following in zip(headings, [*headings[1:], None]):
        if heading["name"] == name:
            end = following.start() if following else len(changelog)
            return changelog[heading.end():end].strip("\n")
    return None


def date(changelog: str, name: str) -> Optional[str]:
    """The date in the heading of a version, or None if the heading or a valid date is missing."""
    for heading in HEADING.finditer(changelog):
        if heading["name"] == name and heading["date"]:
            try:
                return datetime.date.fromisoformat(heading["date"]).isoformat()
            except ValueError:
                return None
    return None
