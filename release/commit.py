"""The commit that a release is built from."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from crates import Failure

ROOT = Path(__file__).resolve().parent.parent
# Written by build.rs.
SECTION = b"webhook_guard.version"


def check_clone() -> None:
    """Refuses a tree that a commit does not describe."""
    if git("rev-parse", "--show-cdup").strip():
        raise Failure(f"{ROOT} is not a git clone of its own, and a release is built from a commit: run make dist in a clone")
    git("rev-parse", "--verify", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=normal").splitlines()
    if changes:
        more = f", and {len(changes) - 1} more" if len(changes) > 1 else ""
        raise Failure(f"the sources differ from the commit ({changes[0].strip()}{more}): commit, stash or remove the changes")


def check_out(folder: Path) -> None:
    """Writes the files of the commit into a folder, as a clone with no settings of this one.

    In this clone, git may hide changes: of files with the flag `assume-unchanged`, of ignored files, of line ends.
    """
    head = git("rev-parse", "--verify", "HEAD").strip()
    settings = []
    for each in ("core.autocrlf=false", "core.eol=lf", f"core.attributesFile={os.devnull}", "core.fsmonitor=false"):
        settings += ["-c", each]
    git("clone", "--quiet", "--shared", "--no-checkout", "--template=", str(ROOT), str(folder))
    git("-C", str(folder), *settings, "checkout", "--quiet", "--detach", head)


def record_of(module: bytes) -> dict:
    """The `version`, `commit` and `modified` in a module's record."""
    records = [content for name, content in custom_sections(module) if name == SECTION]
    if len(records) != 1:
        raise Failure(f"the module has {len(records)} sections {SECTION.decode()} instead of one: run make build")
    return json.loads(records[0])


def check_module(module: bytes) -> None:
    """Refuses a module of another commit."""
    record, head = record_of(module), git("rev-parse", "HEAD").strip()
    if record["commit"] != head or record["modified"]:
        raise Failure(
            f"the module says it is of commit {record['commit']}{', modified' if record['modified'] else ''}, "
            f"and the clone is at {head}: run touch build.rs, then make dist"
        )


def custom_sections(module: bytes) -> list:
    """The names and contents of a module's custom sections."""
    sections, place = [], 8
    while place < len(module):
        size, start = unsigned(module, place + 1)
        if module[place] == 0:
            length, name = unsigned(module, start)
            sections.append((module[name:name + length], module[name + length:start + size]))
        place = start + size
    return sections


def unsigned(module: bytes, place: int) -> tuple:
    """A number in LEB128, and the place after it."""
    number, shift = 0, 0
    while True:
        byte = module[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place


def git(*arguments: str) -> str:
    # A hook of git sets these, and they may name another repository.
    others = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_REPLACE_REF_BASE")
    env = {name: value for name, value in os.environ.items() if name not in others}
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, env=env, check=False, capture_output=True, encoding="utf-8")
    except FileNotFoundError:
        raise Failure("git is not installed, and a release is built from a commit: install git") from None
    if run.returncode:
        raise Failure(f"a release is built from a commit, and git {' '.join(arguments)} failed: {run.stderr.strip()}")
    return run.stdout
