"""Compiles the module and the command line. Equal sources give equal bytes on every machine.

    python3 -B release/cargo.py module              target/wasm32-wasip1/release/webhook_guard.wasm
    python3 -B release/cargo.py command             target/x86_64-unknown-linux-musl/release/webhook-guard
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

MODULE = ROOT / "target/wasm32-wasip1/release/webhook_guard.wasm"
COMMAND = ROOT / "target/x86_64-unknown-linux-musl/release/webhook-guard"

# The variables that a build gets. Others may change the bytes: build scripts read CARGO_CFG_CURVE25519_DALEK_BITS, for example.
PASSED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|TMPDIR|TERM|LANG|LC_.*|LD_LIBRARY_PATH|SSH_AUTH_SOCK|SSL_CERT_.*|GIT_(CONFIG|SSL)_.*"
    r"|(https?|all|no)_proxy|(HTTPS?|ALL|NO)_PROXY|SDKROOT|DEVELOPER_DIR|MACOSX_DEPLOYMENT_TARGET"
    r"|RUSTUP_.*|CARGO_(HOME|BUILD_JOBS|(NET|HTTP|TERM|REGISTRY|REGISTRIES)_.*)"
)
# Settings in configuration files of cargo that do not change the bytes, or that the flags of a build replace.
HARMLESS = {
    "alias", "cache", "cargo-new", "credential-alias", "doc", "future-incompat-report", "http", "install", "net", "registries",
    "registry", "source", "term",
}
HARMLESS_OF_BUILDS = {"jobs", "rustc-workspace-wrapper", "rustc-wrapper", "rustdocflags", "rustflags", "target", "target-dir"}
HARMLESS_OF_TARGETS = {"runner", "rustdocflags", "rustflags"}


def main() -> None:
    build = {"module": module, "command": command}[sys.argv[1]]
    try:
        build()
    except subprocess.CalledProcessError as failure:
        # The program has reported the reason.
        sys.exit(failure.returncode)


def module() -> None:
    build("wasm32-wasip1", module_flags())


def named_module() -> None:
    """The module with the names of its functions, in target/named. Its code is that of the shipped one."""
    build("wasm32-wasip1", module_flags(), "--config", "profile.release.strip='debuginfo'", folder="target/named")


def module_flags() -> list[str]:
    config = (ROOT / ".cargo/config.toml").read_text()
    flags = re.search(r"^rustflags = (\[.*?^\])", config, re.MULTILINE | re.DOTALL).group(1)
    return ast.literal_eval(flags)


def command() -> None:
    # Rust brings this linker and the libraries for this target. Those of the machine would differ between machines.
    build("x86_64-unknown-linux-musl", ["-C", "linker=rust-lld"], "--features", "cli", "--bin", "webhook-guard")


def build(target: str, flags: list[str], *arguments: str, folder: str = "target") -> None:
    # This variable replaces the flags of all configuration files, also of those in the user's folders.
    flags = "\x1f".join([*flags, *remaps(target)])
    environment = {**clean(), "CARGO_ENCODED_RUSTFLAGS": flags, "RUSTC_WRAPPER": "", "RUSTC_WORKSPACE_WRAPPER": ""}
    cargo = ["cargo", "build", "--release", "--locked", "--target-dir", folder, "--target", target]
    subprocess.run([*cargo, *arguments], cwd=ROOT, env=environment, check=True)


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}


def harmful_settings() -> list[str]:
    """Settings that change the bytes, in the configuration files of the user and of all folders above this one.

    `paths` replaces the code of a crate, for example, and leaves Cargo.lock and the clone as they are.
    """
    # In a stable cargo, this command needs the variable.
    command = ["cargo", "-Z", "unstable-options", "config", "get", "--format", "json"]
    run = subprocess.run(
        command, cwd=ROOT, env={**clean(), "RUSTC_BOOTSTRAP": "1"}, check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, encoding="utf-8",
    )
    settings = json.loads(run.stdout)
    builds, targets = settings.pop("build", {}), settings.pop("target", {})
    found = set(settings) - HARMLESS
    found |= {f"build.{name}" for name in set(builds) - HARMLESS_OF_BUILDS}
    for target, table in targets.items():
        # Only a build for this target uses its linker.
        is_ours = target.startswith("cfg(") or target in (MODULE.parts[-3], COMMAND.parts[-3])
        harmless = HARMLESS_OF_TARGETS if is_ours else {*HARMLESS_OF_TARGETS, "linker"}
        found |= {f"target.{target}.{name}" for name in set(table) - harmless}
    return sorted(found)


def remaps(target: str) -> list[str]:
    """Flags that shorten the paths of sources, because messages of panics contain these paths."""
    folders = {str(ROOT): "."}
    # The folder of a package depends on CARGO_HOME, on a mirror of the registry, and on `cargo vendor`.
    listing = output("cargo", "metadata", "--locked", "--format-version=1", "--all-features", "--filter-platform", target)
    for package in json.loads(listing)["packages"]:
        if package["source"]:
            folder, name = Path(package["manifest_path"]).parent, f"{package['name']}-{package['version']}"
            folders[str(folder)] = name
            # Cargo passes a path below the root as a relative one.
            if ROOT in folder.parents:
                folders[str(folder.relative_to(ROOT))] = name
    # Without rustup's component rust-src, rustc writes this name for the standard library. With the component, rustc
    # writes the path of the component.
    commit = re.search(r"^commit-hash: (\w+)", output("rustc", "-vV"), re.MULTILINE).group(1)
    folders[output("rustc", "--print", "sysroot").strip() + "/lib/rustlib/src/rust"] = f"/rustc/{commit}"
    # rustc uses the last one that matches.
    return [f"--remap-path-prefix={folder}={name}" for folder, name in folders.items()]


def output(*arguments: str) -> str:
    run = subprocess.run(arguments, cwd=ROOT, env=clean(), check=True, stdout=subprocess.PIPE, encoding="utf-8")
    return run.stdout


if __name__ == "__main__":
    main()
