"""The steps of a release after its build, as the workflow runs them: compare, log in, draft."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from harness.github import GitHub
from harness.tls import Authority
from harness.tools import tool

ROOT = Path(__file__).resolve().parent.parent.parent
TAG = "v0.1.0"
FILES = {"webhook_guard.wasm": b"\0asm", "RELEASE-NOTES.md": b"# webhook-guard 0.1.0\n\n`quoted` $(not run)\n"}


@pytest.fixture
def clone(tmp_path):
    """A folder that has what make needs, and a target of its own."""
    for name in ("Makefile", "Cargo.toml", "tests", ".tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_build(tmp_path / "target" / "dist", FILES)
    return tmp_path


def write_build(folder: Path, files: dict) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()]
    (folder / "SHA256SUMS").write_text("".join(sums))


def make(clone: Path, target: str, **env: str) -> subprocess.CompletedProcess:
    # Not the variables of a make that runs this test.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "--no-print-directory", target], cwd=clone, env={**inherited, **env}, check=False, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )


class TestCompare:
    @pytest.fixture
    def again(self, clone):
        folder = clone / "target" / "dist-again"
        write_build(folder, FILES)
        return folder

    def test_equal_builds_pass(self, clone, again):
        done = make(clone, "compare-dist")
        assert done.returncode == 0, done.stdout
        sums = hashlib.sha256((again / "SHA256SUMS").read_bytes()).hexdigest()
        assert f"the two builds are equal: {sums}" in done.stdout

    def test_another_module_fails_though_its_sums_agree(self, clone):
        write_build(clone / "target" / "dist-again", {**FILES, "webhook_guard.wasm": b"\0asm\1"})
        done = make(clone, "compare-dist")
        assert done.returncode != 0
        assert "target/dist-again/webhook_guard.wasm differ" in done.stdout

    def test_a_file_that_changed_after_its_sum_fails(self, clone, again):
        for folder in (clone / "target" / "dist", again):
            (folder / "webhook_guard.wasm").write_bytes(b"\0asm\1")
        done = make(clone, "compare-dist")
        assert done.returncode != 0
        assert "webhook_guard.wasm: FAILED" in done.stdout

    def test_a_file_without_a_sum_fails(self, clone, again):
        (again / "more.txt").write_text("more")
        done = make(clone, "compare-dist")
        assert done.returncode != 0
        assert "Only in target/dist-again: more.txt" in done.stdout


class TestLogin:
    def test_the_token_is_stored_for_the_registry_of_the_image(self, clone, tmp_path):
        env = {"DOCKER_CONFIG": str(tmp_path / "docker"), "IMAGE": "registry.example.com/team/guard"}
        done = make(clone, "login", REGISTRY_USER="robot", REGISTRY_TOKEN="to'k$en", **env)
        assert done.returncode == 0, done.stdout
        assert "to'k$en" not in done.stdout
        stored = json.loads((tmp_path / "docker" / "config.json").read_text())["auths"]
        (registry, credentials), = stored.items()
        assert registry == "registry.example.com"
        assert base64.b64decode(credentials["auth"]) == b"robot:to'k$en"

    def test_without_a_token_the_error_names_it(self, clone):
        done = make(clone, "login", REGISTRY_TOKEN="")
        assert done.returncode != 0
        assert "REGISTRY_TOKEN is not set" in done.stdout


class TestDraft:
    @pytest.fixture
    def github(self, tmp_path):
        tls = Authority().server(tmp_path / "tls", "api.github.com", "uploads.github.com")
        with GitHub(tls, tags={TAG}, token="secret-token") as github:
            yield github

    @pytest.fixture
    def draft(self, clone, github, tmp_path):
        def draft(**env: str) -> subprocess.CompletedProcess:
            return make(clone, "draft", **{
                "PATH": f"{tool('gh').parent}:{os.environ['PATH']}", "HTTPS_PROXY": github.proxy,
                "SSL_CERT_FILE": str(tmp_path / "tls" / "ca.crt"), "GH_CONFIG_DIR": str(tmp_path / "gh"),
                "GH_TOKEN": github.token, "GH_REPO": "owner/repository", "TAG": TAG, **env,
            })
        return draft

    def test_the_draft_has_every_file_and_the_notes(self, draft, github):
        done = draft()
        assert done.returncode == 0, (done.stdout, github.requests)
        (release,) = github.releases
        assert (release["tag_name"], release["name"], release["draft"]) == (TAG, f"webhook-guard {TAG}", True)
        assert release["body"] == FILES["RELEASE-NOTES.md"].decode()
        assert set(release["files"]) == {*FILES, "SHA256SUMS"}
        assert release["files"]["webhook_guard.wasm"] == FILES["webhook_guard.wasm"]

    def test_a_tag_that_github_does_not_have_gets_no_release(self, draft, github):
        assert draft(TAG="v0.2.0").returncode != 0
        assert github.releases == []

    def test_a_second_draft_of_a_tag_is_refused(self, draft, github):
        assert draft().returncode == 0
        done = draft()
        assert done.returncode != 0, github.requests
        assert "delete the draft first" in done.stdout
        assert len(github.releases) == 1
