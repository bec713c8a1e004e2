"""The files of a release alone: they are whole, they work without a clone, and they name nothing of the machine."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import cargo
import commit
import crates
import manifests
from harness import sign
from harness.client import post
from harness.dist import IMAGE
from harness.envoy import ROOT, SECRET, Envoy
from harness.upstream import Upstream

FILES = {
    "LICENSE",
    "RELEASE-NOTES.md",
    "SHA256SUMS",
    "THIRD-PARTY-NOTICES.txt",
    "image-digest.txt",
    "webhook-guard-cli.cdx.json",
    "webhook-guard-image.tar",
    "webhook-guard-manifests.tar.gz",
    "webhook-guard-x86_64-unknown-linux-musl.tar.gz",
    "webhook-guard.schema.json",
    "webhook_guard.cdx.json",
    "webhook_guard.wasm",
}
# Of these, the command line checks the guard. The others configure what is around it.
GUARDS = {
    "edge.yaml",
    "envoy-gateway/guard.yaml",
    "envoy.yaml",
    "global-ratelimit.yaml",
    "istio/gateway.yaml",
    "istio/sidecar.yaml",
    "rotating.yaml",
    "rotating/guard.yaml",
}
# Of users, of cargo and of rustup.
FOLDERS = rb"(?<![\w.])/(home|root|tmp|Users)/|\.cargo/|\.rustup/|registry/src|rustlib/src"
BODY = b'{"order": 43}'
# Folders and commands of a clone.
OF_A_CLONE = re.compile(
    r"(?:^|`)make [a-z]|rustup|\bcargo (?!audit bin)|(?<![\w/.-])(?:src|tests|release)/|\btarget/"
    r"|repository's root|root of the repository|<!--",
    re.MULTILINE,
)
# Sections for those who build a release. The tables of security.md name the tests of each guarantee.
FOR_BUILDERS = {
    "envoy/release.md": re.compile(r"^## (?:Reproduce|Make a release)$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL),
    "envoy/security.md": re.compile(r".*", re.DOTALL),
}
# A place that a user has to change does not contain what the release has filled in.
FILLED_IN = r"CHANGE:? [^\n]*(?:digest|SHA-256)"


def run(*command, folder: Path, **env: str) -> subprocess.CompletedProcess:
    environment = {"PATH": os.environ["PATH"], **env}
    return subprocess.run(command, cwd=folder, env=environment, check=False, text=True, capture_output=True)


def files(downloads: Path) -> list:
    return [file for file in sorted(downloads.rglob("*")) if file.is_file()]


class TestFiles:
    def test_the_sums_list_every_file(self, downloads, dist):
        assert {file.name for file in dist.iterdir()} == FILES
        sums = (dist / "SHA256SUMS").read_text().splitlines()
        assert {line.split("  ")[1] for line in sums} == FILES - {"SHA256SUMS"}
        checked = run("sha256sum", "--check", "--strict", "SHA256SUMS", folder=downloads)
        assert checked.returncode == 0, checked.stdout

    def test_none_names_the_machine(self, downloads):
        cargo_home = os.environ.get("CARGO_HOME", Path.home() / ".cargo")
        names = {str(ROOT), f"{Path.home()}/", f"/{getpass.getuser()}/", str(cargo_home)}
        for file in files(downloads):
            content = file.read_bytes()
            assert not [name for name in names if name.encode() in content], file

    def test_no_program_names_the_folders_of_a_build(self, downloads, program):
        for file in (downloads / "webhook_guard.wasm", program):
            assert not re.search(FOLDERS, file.read_bytes()), file

    def test_the_archives_have_no_owners_and_no_times(self, dist):
        for file in dist.glob("*.tar*"):
            listed = run("tar", "--numeric-owner", "--utc", "--full-time", "-tvf", str(file), folder=dist).stdout
            assert listed
            for line in listed.splitlines():
                assert re.match(r"-rw[-x]r-[-x]r-[-x] 0/0 +\d+ 1970-01-01 00:00:00 ", line), line


class TestManifests:
    def test_the_shipped_file_runs_the_module_next_to_it(self, downloads, monkeypatch):
        # Envoy reads the path of the module relative to this folder.
        monkeypatch.chdir(downloads)
        text = (downloads / "envoy" / "envoy.yaml").read_text()
        (path,) = re.findall(r"local: \{filename: (.*)\}", text)

        def with_the_module_of_the_file(document):
            document.guard["vm_config"]["code"]["local"]["filename"] = path

        with Upstream() as upstream, Envoy(upstream.port, text=text, patch=with_the_module_of_the_file) as envoy:
            forged = sign.default("another secret", BODY)
            assert [post(envoy.port, "/webhook", headers, BODY).status for headers in ([], forged)] == [401, 401]
            assert not upstream.connections
            assert post(envoy.port, "/webhook", sign.default(SECRET, BODY), BODY).status == 200

    def test_the_command_line_accepts_every_guard(self, downloads, program):
        paths = [str(file.relative_to(downloads)) for file in files(downloads / "envoy") if file.suffix == ".yaml"]
        found = {path for path in paths if run(program, "check", path, folder=downloads).returncode == 0}
        assert found == {f"envoy/{name}" for name in GUARDS}

    def test_no_placeholder_is_left(self, downloads):
        digest = (downloads / "image-digest.txt").read_text().strip()
        for file in files(downloads / "envoy"):
            text = file.read_text()
            for placeholder in (manifests.NONE, "target/wasm32", r"registry\.example\.com/webhook-guard(?!-)"):
                assert not re.search(placeholder, text), file
            assert set(re.findall(IMAGE + r"@(sha256:[0-9a-f.]+)", text)) <= {digest}, file

    @pytest.mark.parametrize("path", ["istio/image-volume.patch", "envoy-gateway/image-volume.patch"])
    def test_a_patch_names_the_image_by_its_digest(self, downloads, path):
        digest = (downloads / "image-digest.txt").read_text().strip()
        assert f"{IMAGE}@{digest}" in (downloads / "envoy" / path).read_text()

    def test_no_file_sends_its_reader_to_a_clone(self, downloads):
        found = {}
        for file in files(downloads / "envoy"):
            path, text = str(file.relative_to(downloads)), file.read_text()
            if path in FOR_BUILDERS:
                text, count = FOR_BUILDERS[path].subn("", text)
                assert count, path
            mentions = [line for line in text.splitlines() if OF_A_CLONE.search(line)]
            found.update({path: mentions} if mentions else {})
        assert not found

    def test_no_value_that_the_release_has_filled_in_is_marked_change(self, downloads):
        for file in files(downloads / "envoy"):
            assert not re.search(FILLED_IN, file.read_text()), file

    def test_every_patch_applies_as_it_says(self, downloads, tmp_path):
        patches = [file for file in files(downloads / "envoy") if file.suffix == ".patch"]
        assert patches
        for number, patch in enumerate(patches):
            (command,) = re.findall(r"patch -.*", patch.read_text())
            folder = tmp_path / str(number)
            shutil.copytree(patch.parent, folder)
            done = run("sh", "-c", command, folder=folder)
            assert done.returncode == 0, f"{patch}: {done.stdout}{done.stderr}"

    def test_every_link_leads_to_a_file(self, downloads):
        pages = list((downloads / "envoy").rglob("*.md"))
        assert len(pages) > 8
        for page in pages:
            for target in re.findall(r"\]\(([^)#\s:]+)(?:#[^)\s]*)?\)", page.read_text()):
                assert (page.parent / target).exists(), f"{page}: {target}"


class TestCommandLine:
    def test_the_program_needs_no_library(self, program):
        # Of the header of a program: the name of the interpreter, which loads libraries.
        assert b"ld-linux" not in program.read_bytes() and b"ld-musl" not in program.read_bytes()

    def test_the_examples_of_its_page_give_the_outputs_of_the_page(self, downloads, program):
        page = (downloads / "envoy" / "command-line.md").read_text()
        examples = re.findall(r"```console\n\$ webhook-guard (.*envoy/examples/.*)\n(?:\? (\d)\n)?((?:.*\n)*?)```", page)
        (secret,) = re.findall(r"^export WEBHOOK_SECRET=(.*)$", page, re.MULTILINE)
        assert len(examples) == 4
        for command, status, output in examples:
            done = run(program, *command.split(), folder=downloads, WEBHOOK_SECRET=secret)
            assert done.returncode == int(status or 0), done.stderr
            assert re.fullmatch(re.escape(output).replace(r"\[\.\.\]", ".*"), done.stdout + "\n"), done.stdout

    def test_the_program_signs_what_the_program_verifies(self, downloads, program):
        secret, request = {"WEBHOOK_SECRET": SECRET}, downloads / "request.http"
        (downloads / "order.json").write_bytes(BODY)
        config = ("--config", "envoy/envoy.yaml")
        signed = run(program, "sign", *config, "--body", "order.json", "--format", "http", folder=downloads, **secret)
        request.write_text(signed.stdout)
        verify = (program, "verify", *config, "--request", str(request))
        assert run(*verify, folder=downloads, **secret).returncode == 0
        assert run(*verify, folder=downloads, WEBHOOK_SECRET="another secret").returncode == 1

    def test_the_archive_has_pages_completions_and_licences(self, program):
        names = {str(file.relative_to(program.parent)) for file in files(program.parent)}
        assert {"LICENSE", "THIRD-PARTY-NOTICES.txt", "man/webhook-guard.1", "completions/webhook-guard.bash"} <= names


class TestCommit:
    """`make dist` refuses sources that no commit describes."""

    @pytest.fixture
    def tree(self, tmp_path, monkeypatch):
        monkeypatch.setattr(commit, "ROOT", tmp_path)
        (tmp_path / "source").write_text("committed")
        return tmp_path

    @pytest.fixture
    def clone(self, tree):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        for arguments in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "first")):
            subprocess.run(["git", *arguments], cwd=tree, check=True)
        return tree

    def test_a_commit_is_accepted(self, clone):
        commit.check_clone()

    def test_a_folder_without_git_is_refused(self, tree):
        with pytest.raises(crates.Failure, match="a release is built from a commit"):
            commit.check_clone()

    def test_a_clone_without_a_commit_is_refused(self, tree):
        subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
        with pytest.raises(crates.Failure, match="a release is built from a commit"):
            commit.check_clone()

    def test_a_folder_in_another_clone_is_refused(self, clone, monkeypatch):
        (clone / "inner").mkdir()
        monkeypatch.setattr(commit, "ROOT", clone / "inner")
        with pytest.raises(crates.Failure, match="is not a git clone of its own"):
            commit.check_clone()

    @pytest.mark.parametrize("name", ["source", "new"])
    def test_a_changed_or_new_file_is_refused(self, clone, name):
        (clone / name).write_text("changed")
        with pytest.raises(crates.Failure, match=f"differ from the commit .*{name}.*: commit, stash or remove"):
            commit.check_clone()

    @pytest.mark.parametrize("setting", ["status.showUntrackedFiles=no", "core.excludesFile=/dev/null"])
    def test_a_setting_of_git_hides_no_new_file(self, clone, setting):
        subprocess.run(["git", "config", *setting.split("=")], cwd=clone, check=True)
        (clone / "new").write_text("new")
        with pytest.raises(crates.Failure, match="differ from the commit .*new"):
            commit.check_clone()

    @pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
    def test_a_build_gets_no_file_with_hidden_changes(self, clone, tmp_path_factory, flag):
        subprocess.run(["git", "update-index", flag, "source"], cwd=clone, check=True)
        (clone / "source").write_text("changed")
        (clone / ".git" / "info" / "exclude").write_text("ignored")
        (clone / "ignored").write_text("new")
        commit.check_clone()
        folder = tmp_path_factory.mktemp("checkout") / "folder"
        commit.check_out(folder)
        assert [(each.name, each.read_text()) for each in folder.iterdir() if each.name != ".git"] == [("source", "committed")]

    def test_a_build_gets_the_line_ends_of_the_commit(self, clone, tmp_path_factory, monkeypatch):
        (clone / ".git" / "info" / "attributes").write_text("* text eol=crlf")
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.autocrlf")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
        (clone / "source").write_bytes(b"two\nlines\n")
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        subprocess.run(["git", *who, "commit", "-q", "-a", "-m", "second"], cwd=clone, check=True)
        folder = tmp_path_factory.mktemp("checkout") / "folder"
        commit.check_out(folder)
        assert (folder / "source").read_bytes() == b"two\nlines\n"

    def test_a_module_of_another_commit_is_refused(self, clone):
        with pytest.raises(crates.Failure, match="touch build.rs, then make dist"):
            commit.check_module(cargo.MODULE.read_bytes())

    def test_a_module_without_a_commit_is_refused(self, clone):
        with pytest.raises(crates.Failure, match="0 sections webhook_guard.version"):
            commit.check_module(b"\0asm\1\0\0\0")


class TestSettings:
    """`make dist` refuses settings of cargo that change the bytes, wherever cargo reads them."""

    @pytest.fixture
    def settings(self, tmp_path, monkeypatch):
        (tmp_path / "clone").mkdir()
        (tmp_path / ".cargo").mkdir()
        monkeypatch.setattr(cargo, "ROOT", tmp_path / "clone")
        monkeypatch.setenv("CARGO_HOME", str(tmp_path / "home"))
        return tmp_path / ".cargo" / "config.toml"

    @pytest.mark.parametrize(("text", "found"), [
        ('paths = ["/tmp/subtle"]', "paths"),
        ("[profile.release]\nopt-level = 1", "profile"),
        ('[env]\nPATH = "/tmp"', "env"),
        ('[patch.crates-io]\nsubtle = {path = "/tmp/subtle"}', "patch"),
        ('build.rustc = "/tmp/rustc"', "build.rustc"),
        ('[target.wasm32-wasip1]\nlinker = "/tmp/ld"', "target.wasm32-wasip1.linker"),
        ("[target.'cfg(all())']\nlinker = \"/tmp/ld\"", "target.cfg(all()).linker"),
    ])
    def test_one_that_changes_the_bytes_is_found(self, settings, text, found):
        settings.write_text(text)
        assert cargo.harmful_settings() == [found]

    @pytest.mark.parametrize("text", [
        "",
        "[build]\njobs = 1\nrustflags = ['-g']\ntarget-dir = '/tmp/target'",
        "[target.x86_64-unknown-linux-gnu]\nlinker = 'clang'\nrustflags = ['-Clink-arg=-fuse-ld=mold']",
        "[source.crates-io]\nreplace-with = 'mirror'\n[source.mirror]\nregistry = 'sparse+https://example.com/'",
        "[net]\noffline = true\n[http]\nproxy = 'localhost:1'\n[term]\nquiet = true",
    ])
    def test_others_are_not(self, settings, text):
        settings.write_text(text)
        assert cargo.harmful_settings() == []
