"""Writes the licences of all that is inside the module and the command line.

The texts are from the sources of the crates. The texts for parts of the toolchain are in `release/licenses`, because an
installed toolchain does not have all of them.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import toolchain
from crates import COMMAND, MODULE, ROOT, Crate, Failure, resolve

TEXTS = ROOT / "release" / "licenses"
# A crate may offer several licences. The first one here for which it has a text is chosen.
CHOICES = {
    "Apache-2.0": "Apache License Version 2.0, January 2004",
    "MIT": "Permission is hereby granted, free of charge, to any person obtaining a copy",
    "BSD-3-Clause": "Neither the name of",
    "Zlib": "This software is provided 'as-is', without any express or implied warranty.",
}
NAMES = re.compile(r"licen[sc]e|copying|copyright|notice", re.IGNORECASE)
COPYRIGHT = re.compile(r"^[\s/#*]*(copyright (?:\(c\)|©|[12]\d\d\d)[^\n]*)$", re.IGNORECASE | re.MULTILINE)
APACHE_TERMS = "TERMS AND CONDITIONS FOR USE", "END OF TERMS AND CONDITIONS"

HEAD = """\
THIRD-PARTY NOTICES OF WEBHOOK-GUARD

webhook-guard is licensed under the Apache License 2.0: see the file LICENSE. This file lists the works of others that are
compiled into the module webhook_guard.wasm, or into the command line webhook-guard, and their licences. Where a work offers
several licences, "chosen" is the one that applies to its copy here. The number is that of the text in the second part.
"""


@dataclass
class Work:
    """A work of others, and the texts that go with it."""

    name: str
    licence: str
    chosen: str
    copyrights: list
    texts: list
    inside: list


def write(file: Path) -> None:
    works = [*crates(), *parts()]
    apache = (ROOT / "LICENSE").read_text(encoding="utf-8")
    numbers, places = {same(apache): (1, apache)}, []
    for work in works:
        for text in work.texts:
            numbers.setdefault(same(text), (len(numbers) + 1, text))
        places.append(sorted({numbers[same(text)][0] for text in work.texts}))
    entries = [entry(work, numbers_of_work) for work, numbers_of_work in zip(works, places)]
    texts = [f"{'=' * 100}\nText {number}\n{'=' * 100}\n\n{text.strip()}\n" for number, text in numbers.values()]
    file.write_text("\n".join([HEAD, *entries, *texts]), encoding="utf-8")


def entry(work: Work, numbers: list) -> str:
    lines = [
        work.name,
        f"inside: {', '.join(work.inside)}",
        f"licence: {work.licence}" + (f" (chosen: {work.chosen})" if work.chosen != work.licence else ""),
        f"text: {', '.join(map(str, numbers))}",
        *work.copyrights,
    ]
    return textwrap.indent("\n".join(lines), "    ", lambda line: line.rstrip() != work.name) + "\n"


def crates() -> list[Work]:
    """The crates of module and command line. The guard is not among them."""
    inside, found = {}, {}
    for artifact in (MODULE, COMMAND):
        for crate in resolve(artifact)[1:]:
            found[crate.key] = crate
            inside.setdefault(crate.key, []).append(artifact.file)
    return [work(found[key], inside[key]) for key in sorted(found)]


def work(crate: Crate, inside: list) -> Work:
    files = texts(crate.folder)
    offered = crate.licence.split(" OR ")
    for chosen, words in CHOICES.items():
        matching = [text for text in files.values() if words in " ".join(text.split())]
        if chosen in offered and matching:
            break
    else:
        raise Failure(
            f"{crate.name} {crate.version}: {crate.folder} has no text of its licence, {crate.licence}: "
            f"add the text as release/licenses/{crate.name}.txt, and a licence that is new to CHOICES in licenses.py"
        )
    # The Apache License requires the notices of a crate, and saphyr-parser requires its statement about two authors.
    statements = [
        text for file, text in files.items() if "notice" in file.name.lower() or "Redistributions of this Work must" in text
    ]
    copyrights = {line.strip() for text in files.values() for line in COPYRIGHT.findall(text)}
    return Work(
        f"{crate.name} {crate.version}", crate.licence, chosen, sorted(copyrights), [*matching, *statements], inside
    )


def texts(folder: Path) -> dict:
    """The files about licences in a crate's folder, and in a folder of licences in it."""
    inner = [file for each in folder.iterdir() if each.is_dir() and NAMES.search(each.name) for file in each.iterdir()]
    files = [file for file in folder.iterdir() if file.is_file() and NAMES.search(file.name)]
    extra = TEXTS / f"{folder.name.rsplit('-', 1)[0]}.txt"
    return {
        file: file.read_text(encoding="utf-8") for file in sorted([*files, *inner, *([extra] if extra.exists() else [])])
    }


def parts() -> list[Work]:
    """The parts of the toolchain."""
    apache = (ROOT / "LICENSE").read_text(encoding="utf-8")
    works = []
    for whole in toolchain.WHOLES:
        for part in (whole, *whole.parts):
            of = "" if part is whole else f" (part of {whole.name} {whole.version})"
            files = [(TEXTS / f"{name}.txt").read_text(encoding="utf-8") for name in part.texts]
            works.append(Work(
                f"{part.name} {part.version}".strip() + of, part.licence, part.chosen,
                [f"Copyright: {part.copyright}"] if part.copyright else [],
                [*files, *([apache] if "Apache-2.0" in part.chosen.split(" AND ") else [])],
                [artifact.file for artifact in part.inside],
            ))
    return works


def same(text: str) -> str:
    """Equal for texts that differ in white space alone, or in how they apply the Apache License to a work."""
    words = " ".join(text.split())
    if CHOICES["Apache-2.0"] not in words:
        return words
    start, end = (words.index(each) for each in APACHE_TERMS)
    around = words[:start] + words[end:]
    return words if any(each in around for each in (CHOICES["MIT"], "LLVM Exceptions")) else words[start:end]
