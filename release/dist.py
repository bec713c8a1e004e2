"""Builds the files of a release into target/dist.

    make dist                                       for a look at the files
    make dist IMAGE=registry.example.com/guard      for a release, with the image's name
    make dist UNCOMMITTED=1                         of changed sources

Equal commits and equal IMAGEs give equal bytes, on every machine with the pinned Rust. The files of a release are from the
commit alone: `make dist` checks out the commit in target/dist-checkout, and compiles everything there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cargo
import command
import commit
import crates
import image
import inventory
import manifests
import notes

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "target" / "dist"
SUMS = "SHA256SUMS"
CHECKOUT = ROOT / "target" / "dist-checkout"
IN_CHECKOUT = "in-checkout"


def main() -> None:
    name = os.environ["IMAGE"]
    if not name:
        raise crates.Failure("IMAGE is empty: set it to the name of the image, as registry.example.com/webhook-guard")
    if os.environ.get("UNCOMMITTED") == "1":
        build(name, is_committed=False)
    elif sys.argv[1:] == [IN_CHECKOUT]:
        check_settings()
        build(name, is_committed=True)
    else:
        commit.check_clone()
        build_in_checkout(name)


def check_settings() -> None:
    settings = cargo.harmful_settings()
    if settings:
        raise crates.Failure(
            f"cargo's configuration files set {', '.join(settings)}, which can change the bytes: remove that from "
            "config.toml in CARGO_HOME and in `.cargo` of the folders above, or set another CARGO_HOME"
        )


def build_in_checkout(name: str) -> None:
    """Builds from the files of the commit alone. Files in this clone and in its `target` may be others."""
    shutil.rmtree(CHECKOUT, ignore_errors=True)
    commit.check_out(CHECKOUT)
    env = {**cargo.clean(), "IMAGE": name}
    if "CARGO_HOME" in env:
        env["CARGO_HOME"] = os.path.abspath(env["CARGO_HOME"])
    # Without the variables and the packages of the user.
    command = [sys.executable, "-E", "-s", "-B", "-X", "utf8", "release/dist.py", IN_CHECKOUT]
    done = subprocess.run(command, cwd=CHECKOUT, env=env, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    shutil.rmtree(DIST, ignore_errors=True)
    (CHECKOUT / "target" / "dist").rename(DIST)
    shutil.rmtree(CHECKOUT)


def build(name: str, is_committed: bool) -> None:
    ignore_settings()
    shutil.rmtree(DIST, ignore_errors=True)
    step("compiling the module, for a minute")
    cargo.module()
    step("compiling the command line, for three minutes")
    cargo.command()
    step("writing target/dist")
    DIST.mkdir(parents=True)
    module = cargo.MODULE.read_bytes()
    if is_committed:
        commit.check_module(module)
    module = inventory.with_crates(module)
    (DIST / cargo.MODULE.name).write_bytes(module)
    digest = image.write(module, DIST / "webhook-guard-image.tar")
    (DIST / "image-digest.txt").write_text(f"{digest}\n")
    for file in ("LICENSE", "envoy/webhook-guard.schema.json"):
        shutil.copyfile(ROOT / file, DIST / Path(file).name)
    manifests.write(DIST / "webhook-guard-manifests.tar.gz", hashlib.sha256(module).hexdigest(), name, digest)
    inventory.write(DIST, module, cargo.COMMAND.read_bytes())
    command.write(DIST / f"{command.NAME}.tar.gz", cargo.COMMAND, [DIST / "LICENSE", DIST / inventory.NOTICES])
    notes.write(DIST, name)
    write_sums(DIST)
    for file in sorted(DIST.iterdir()):
        print(f"{file.stat().st_size:>10,}  target/dist/{file.name}")
    record = commit.record_of(module)
    print(f"version {record['version']}, commit {record['commit']}{', modified' if record['modified'] else ''}")
    print(f"the image's digest is {digest}")


def ignore_settings() -> None:
    """Removes what would change the bytes from the environment, also for the other programs that run here."""
    for name in set(os.environ) - set(cargo.clean()):
        del os.environ[name]
    # This precedes the wrapper in a configuration file of the user.
    os.environ["RUSTC_WRAPPER"] = ""


def step(text: str) -> None:
    print(f"make dist: {text}", flush=True)


def write_sums(folder: Path) -> None:
    """Writes the SHA-256 of each file, in the format of sha256sum."""
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(folder.iterdir()) if file.name != SUMS
    ]
    (folder / SUMS).write_text("".join(lines))


if __name__ == "__main__":
    # The same archives for every user.
    os.umask(0o022)
    try:
        main()
    except crates.Failure as failure:
        sys.exit(f"make dist: {failure}")
    except subprocess.CalledProcessError as failure:
        sys.exit(f"make dist: {failure.cmd[0]} failed with the status {failure.returncode}")
