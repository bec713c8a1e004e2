"""Differences between the verdicts of two modules, and those that a release intends."""

from __future__ import annotations

import collections
import fnmatch
import json
import re
from pathlib import Path

import yaml

from harness.envoy import ROOT

DIFFERENCES = Path(__file__).with_name("differences.yaml")
EMPTY = """\
# Differences between the last release and this tree that are intended. The page last-release/README.md describes the fields.
# A test fails for a difference that is not here, and for an entry without a difference.
[]
"""


def differences(before: dict, after: dict) -> dict:
    """Each difference as (guard, part, before, after), with the first request that shows it and their number."""
    found: dict = {}
    for guard in before["guards"]:
        old, new = before["guards"][guard], after["guards"][guard]
        note(found, guard, "-", flat({"refused": fields(old["refused"])}), flat({"refused": fields(new["refused"])}))
        for place, pair in enumerate(zip(old["verdicts"], new["verdicts"])):
            note(found, guard, f"request {place}", *map(flat, pair))
    names = [{f"metric {name}": "there" for name in each["metrics"]["names"]} for each in (before, after)]
    note(found, "-", "-", *names)
    if not found:
        note(found, "-", "-", before["metrics"]["counted"], after["metrics"]["counted"])
    return found


def fields(faults: list) -> list:
    """The fields that a refusal names. The texts about them may change."""
    return sorted({fault.split(": ")[0] for fault in faults})


def note(found: dict, guard: str, where: str, before: dict, after: dict) -> None:
    for part in sorted({*before, *after}):
        values = before.get(part), after.get(part)
        if values[0] != values[1]:
            found.setdefault((guard, part, *map(json.dumps, values)), []).append(where)


def flat(value: dict, prefix: str = "") -> dict:
    """The fields of nested dicts by their paths, such as `log.reason`."""
    found = {}
    for name, each in value.items():
        inner = each if isinstance(each, dict) else None
        found.update(flat(inner, f"{prefix}{name}.") if inner is not None else {f"{prefix}{name}": each})
    return found


def intended() -> list:
    return yaml.safe_load(DIFFERENCES.read_text())


def unlisted(found: dict) -> dict:
    """The differences that a release does not intend."""
    return {key: places for key, places in found.items() if not any(covers(each, *key) for each in intended())}


def covers(entry: dict, guard: str, part: str, before: str, after: str) -> bool:
    return (
        any(fnmatch.fnmatchcase(guard, each) for each in entry.get("guards", ["*"]))
        and entry["part"] == part
        and is_like(before, entry["before"])
        and is_like(after, entry["after"])
    )


def is_like(value: str, pattern) -> bool:
    if pattern == "*":
        return True
    return value == json.dumps(pattern)


def shown(found: dict) -> str:
    """For people: each difference once, whichever guards show it. The most frequent ones come first."""
    together: dict = collections.defaultdict(list)
    for (guard, part, before, after), places in found.items():
        together[part, before, after] += [f"{guard} {place}" for place in places]
    lines = [
        f"{part}: {before} -> {after} ({len(places)} times, first: {places[0]})"
        for (part, before, after), places in sorted(together.items(), key=lambda each: (-len(each[1]), each[0]))
    ]
    return f"{len(lines)} differences\n" + "\n".join(lines[:50])


def changelog() -> list:
    """The items of CHANGELOG.md, each in one line."""
    items = re.split(r"^(?:- |#.*\n)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    return [" ".join(each.split()) for each in items]
