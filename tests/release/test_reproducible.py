"""Two builds of a commit are equal: in other folders, by other users, with other settings of cargo and of the system."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.dist import make_dist
from harness.envoy import ROOT

# Settings that change the bytes of `cargo build`, or the output of careless scripts.
SETTINGS = {
    "CARGO_BUILD_RUSTFLAGS": "-C debuginfo=2",
    # A build script of a crate reads this one.
    "CARGO_CFG_CURVE25519_DALEK_BITS": "64",
    "CARGO_ENCODED_RUSTFLAGS": "-Cdebuginfo=2",
    "CARGO_INCREMENTAL": "1",
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_STRIP": "none",
    "CARGO_TARGET_DIR": "elsewhere",
    "LC_ALL": "C",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONHASHSEED": "7",
    "RUSTC_WRAPPER": "/nonexistent/wrapper",
    "RUSTFLAGS": "-C debuginfo=2",
    "SOURCE_DATE_EPOCH": "1",
    "TZ": "Pacific/Kiritimati",
    "USER": "someone",
}


def output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def clone(folder: Path) -> Path:
    output("git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder))
    return folder


def with_hidden_changes(folder: Path) -> Path:
    """A clone that differs from its commit in files that git does not report."""
    source = folder / "src" / "verdict.rs"
    output("git", "-C", str(folder), "update-index", "--assume-unchanged", "src/verdict.rs")
    source.write_text(source.read_text().replace("Invalid signature", "Another answer"))
    preset = (folder / "src" / "providers" / "github.json").read_text()
    (folder / "src" / "providers" / "hidden.json").write_text(preset.replace('"name": "github"', '"name": "hidden"'))
    (folder / ".git" / "info" / "exclude").write_text("hidden.json\n")
    (folder / "target").mkdir()
    (folder / "target" / "wasm32-wasip1").write_text("not a folder")
    return folder


def cargo_home(folder: Path) -> Path:
    """Another CARGO_HOME, with the archives of crates that cargo has downloaded, but not with their unpacked sources."""
    known = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    for name in ("cache", "index"):
        shutil.copytree(known / "registry" / name, folder / "registry" / name)
    return folder


def another_user() -> tuple:
    """A command that runs another with another user ID. A system may refuse user namespaces: then the user stays."""
    command = ("unshare", "--user", "--map-user=4321", "--map-group=4321")
    refused = subprocess.run([*command, "true"], check=False, stderr=subprocess.DEVNULL).returncode
    return () if refused else command


def hashes(folder: Path) -> dict:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def first(dist, tmp_path_factory) -> Path:
    """A build of the commit. That of this tree is one, unless sources are changed."""
    if not output("git", "status", "--porcelain"):
        return dist
    return make_dist(clone(tmp_path_factory.mktemp("first") / "clone"), dict(os.environ))


@pytest.fixture(scope="module")
def second(tmp_path_factory) -> Path:
    """A build of the commit in a deep folder with hidden changes, as another user with other settings."""
    folder = tmp_path_factory.mktemp("second")
    env = {
        **os.environ,
        **SETTINGS,
        "CARGO_HOME": str(cargo_home(folder / "cargo home")),
        "CARGO_NET_OFFLINE": "true",
        "HOME": str(folder / "home"),
        "RUSTUP_HOME": output("rustup", "show", "home"),
    }
    (folder / "home").mkdir()
    sources = with_hidden_changes(clone(folder / "a folder" / "deeper" / "clone"))
    return make_dist(sources, env, another_user(), umask=0o077)


def test_two_builds_are_equal(first, second):
    assert hashes(first) == hashes(second)
