"""Writes the archive of the command line: the program for x86_64 Linux, its man pages, and its completions."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import archive

NAME = "webhook-guard-x86_64-unknown-linux-musl"
COMPLETIONS = {
    "bash": "webhook-guard.bash",
    "elvish": "webhook-guard.elv",
    "fish": "webhook-guard.fish",
    "powershell": "_webhook-guard.ps1",
    "zsh": "_webhook-guard",
}


def write(file: Path, program: Path, licences: list[Path]) -> None:
    files = {"webhook-guard": program.read_bytes()}
    for licence in licences:
        files[licence.name] = licence.read_bytes()
    for shell, name in COMPLETIONS.items():
        run = subprocess.run([program, "completions", shell], check=True, stdout=subprocess.PIPE)
        files[f"completions/{name}"] = run.stdout
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([program, "man", folder], check=True, stdout=subprocess.DEVNULL)
        for page in sorted(Path(folder).iterdir()):
            files[f"man/{page.name}"] = page.read_bytes()
    # In a folder of its own, because it is unpacked next to other downloads.
    content = archive.tar({f"{NAME}/{name}": content for name, content in files.items()}, (f"{NAME}/webhook-guard",))
    file.write_bytes(archive.gzipped(content))
