"""The notes of a release suffice to verify and run its files, and the check before a release finds what is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from fnmatch import fnmatch

import manifests
import notes
import pytest
import release_check

from harness.envoy import ROOT

IMAGE = "registry.example.com/team/guard"
DIGEST = f"sha256:{'12ab' * 16}"
PAGE = (ROOT / "release" / "README.md").read_text()
HISTORY = """# Changelog

## [Unreleased]

### Added

- a thing to come

## [0.2.0] - 2027-02-03

### Fixed

- **Breaking:** [a field](envoy/configuration.md#fields) of the configuration

## [0.1.0] - 2027-01-02

- the oldest thing
"""


def made(version: str, history: str = HISTORY) -> str:
    values = {"TAG": f"v{version}", "IMAGE": IMAGE, "DIGEST": DIGEST}
    return notes.notes(version, history, PAGE, values)


def anchors(text: str) -> set:
    headings = re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def without_code(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def test_the_notes_have_the_changes_of_their_version_alone():
    text = made("0.2.0")
    assert text.startswith("# webhook-guard 0.2.0, 2027-02-03\n")
    assert "- **Breaking:** a field (`envoy/configuration.md`) of the configuration" in text
    assert "a thing to come" not in text and "the oldest thing" not in text and "Not a release" not in text


def test_the_notes_of_a_version_without_a_section_say_so():
    text = made("0.3.0")
    assert "**Not a release:**" in text and "a thing to come" in text


def test_the_commands_have_the_image_and_the_digest_of_this_release():
    text = made("0.2.0")
    for line in ("TAG=v0.2.0", f"IMAGE={IMAGE}"):
        assert re.search(rf"^{re.escape(line)}$", text, re.MULTILINE), line
    assert "registry.example.com/webhook-guard" not in text
    assert f"The image is `{IMAGE}@{DIGEST}`." in text
    assert set(re.findall(r"sha256:\w+", text)) == {DIGEST}


def test_the_commands_read_the_digest_from_a_file_that_is_verified_before():
    text = made("0.2.0")
    place = text.index("\nDIGEST=$(cat image-digest.txt)\n")
    assert text.count("\nDIGEST=") == 1 and text.index("sha256sum --check") < place < text.index("$DIGEST")


def test_a_reader_learns_what_it_is_before_the_files_and_the_changes():
    text = made("0.2.0")
    order = ["An Envoy filter", "## Files", "## Verify", "## Pull and run", "## Changes", "## Upgrade", "## Support"]
    assert sorted(order, key=text.index) == order


def test_the_first_release_lists_no_changes_of_builds_before_it():
    old = "\n\n### Fixed\n\n- an old fault\n\n### Security\n\n- a hole\n"
    history = HISTORY.split("## [0.1.0]")[0] + "## [0.1.0] - 2027-01-02\n\n### Added\n\n- a thing" + old
    assert "an old fault" in made("0.1.0", history)
    first = history.split("## [0.2.0]")[0] + history[history.index("## [0.1.0]"):]
    text = made("0.1.0", first)
    assert "- a thing\n\n### Security\n\n- a hole\n" in text and "an old fault" not in text


def test_every_link_of_the_notes_leads_somewhere():
    """A reader has neither the repository nor the other sections of the page."""
    text = made("0.2.0")
    targets = re.findall(r"\]\(([^)]*)\)", without_code(text))
    assert len(targets) > 5
    for target in targets:
        assert target.startswith("https://") or target.lstrip("#") in anchors(text), target


def test_every_line_of_commands_is_also_on_the_page():
    """The notes add nothing that the tests of the page do not run."""
    code = "\n".join(re.findall(r"^```sh\n(.*?)^```$", made("0.2.0"), re.MULTILINE | re.DOTALL))
    of_the_page = PAGE.replace("registry.example.com/webhook-guard", IMAGE)
    for line in code.splitlines():
        assert line in of_the_page or line.startswith("TAG="), line


# A reader makes these, by commands of the notes or by hand.
WRITTEN = {"webhook_guard-0.2.0.wasm", "fulcio.pem", "timestamp.pem", "plugin.wasm", "SHA256SUMS.pub"}
NAME = re.compile(r"(?!/)[\w./*-]*(?:\.(?:md|json|ya?ml|toml|txt|wasm|pem|sig|tsr|tar|gz|patch|py|svg)|SHA256SUMS|LICENSE)")


def files_of_the_release() -> set:
    """The names in the table of files, which another test compares with `make dist`, and those in the archive."""
    table = PAGE.split("## Files")[1].split("## Verify")[0]
    names = {name for cell in re.findall(r"^\|([^|]*)\|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", cell)}
    listing = subprocess.run(["git", "ls-files", "envoy"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return names | set(listing.split()) - set(manifests.IN_A_CLONE) | set(manifests.PAGES.values())


def test_every_file_that_the_notes_name_is_in_the_release():
    known = files_of_the_release() | WRITTEN
    history = (ROOT / "CHANGELOG.md").read_text()
    version = notes.changelog.package_version((ROOT / "Cargo.toml").read_text())
    for text in (made("0.2.0"), made(version, history)):
        named = {name for name in re.findall(r"`([^`\s]+)`", without_code(text)) if NAME.fullmatch(name)}
        assert len(named) > 15
        missing = {name for name in named if not any(fnmatch(file, name) or fnmatch(file, f"*/{name}") for file in known)}
        assert missing == set()


@pytest.fixture
def tagged(tmp_path, monkeypatch):
    """A clone, and a function that writes its notes."""
    shutil.copytree(ROOT / "release", tmp_path / "release")
    shutil.copyfile(ROOT / "Cargo.toml", tmp_path / "Cargo.toml")
    version = notes.changelog.package_version((ROOT / "Cargo.toml").read_text())
    (tmp_path / "CHANGELOG.md").write_text(HISTORY.replace("## [0.2.0]", "## [0.0.2]").replace("## [0.1.0]", "## [0.0.1]"))
    (tmp_path / "image-digest.txt").write_text(DIGEST)
    for command in ("init -q", "add .", "-c user.name=t -c user.email=t@example.com commit -q -m release"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    monkeypatch.setattr(notes, "ROOT", tmp_path)
    return tmp_path, version


def test_a_tagged_commit_without_a_dated_section_has_no_notes(tagged):
    """The release would say that it is not one, in a signed file."""
    folder, version = tagged
    notes.write(folder, IMAGE)
    assert "**Not a release:**" in (folder / "RELEASE-NOTES.md").read_text()
    (folder / "RELEASE-NOTES.md").unlink()
    subprocess.run(["git", "tag", f"v{version}"], cwd=folder, check=True)
    with pytest.raises(notes.Failure, match=f"has the tag v{version}, but CHANGELOG.md has no dated section"):
        notes.write(folder, IMAGE)
    assert not (folder / "RELEASE-NOTES.md").exists()
    (folder / "CHANGELOG.md").write_text(HISTORY.replace("## [0.2.0]", f"## [{version}]"))
    notes.write(folder, IMAGE)


@pytest.fixture
def repository(tmp_path):
    """The files that the check reads, in a state that is ready for a release."""
    for name in ("Cargo.toml", "Cargo.lock"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    version = release_check.changelog.package_version((ROOT / "Cargo.toml").read_text())
    text = HISTORY.split("## [0.1.0]")[0].replace("0.2.0", version).replace("- a thing to come\n", "")
    (tmp_path / "CHANGELOG.md").write_text(text)
    return tmp_path, version


def found(repository, tag=None) -> str:
    folder, version = repository
    return "\n".join(release_check.problems(f"v{version}" if tag is None else tag, folder))


def change(repository, name: str, old: str, new: str) -> None:
    path = repository[0] / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_repository_that_is_ready_passes_the_check(repository):
    assert found(repository) == ""


@pytest.mark.parametrize("tag", ["", "{}", "v9.9.9", "v{}.0", "v{}-rc.1", "V{}", "v{} ", "refs/tags/v{}"])
def test_another_tag_is_a_problem(repository, tag):
    assert f"v{repository[1]}" in found(repository, tag.format(repository[1]))


@pytest.mark.parametrize("date", ["", " - not released", " - 2027-02-30", " - 3 May 2027"])
def test_a_version_without_a_valid_date_is_a_problem(repository, date):
    change(repository, "CHANGELOG.md", " - 2027-02-03", date)
    assert f"write the heading as `## [{repository[1]}] - YYYY-MM-DD`" in found(repository)


def test_a_version_without_a_section_is_a_problem(repository):
    change(repository, "CHANGELOG.md", f"[{repository[1]}]", "[0.0.9]")
    assert f"add the heading `## [{repository[1]}] - YYYY-MM-DD`" in found(repository)


def test_entries_that_the_notes_would_not_list_are_a_problem(repository):
    change(repository, "CHANGELOG.md", "### Added\n", "### Added\n\n- a thing\n")
    assert f"move them below `## [{repository[1]}]`" in found(repository)


def test_another_version_in_the_lock_file_is_a_problem(repository):
    name = 'name = "webhook-guard"\nversion = '
    change(repository, "Cargo.lock", f'{name}"{repository[1]}"', f'{name}"0.0.9"')
    assert "commit Cargo.lock" in found(repository)


@pytest.mark.parametrize("image", [
    None, "registry.test/guard", "registry.test:5000/team/webhook-guard", "127.0.0.1:5000/a_b/c--d",
])
def test_the_name_of_an_image_passes_the_check(image):
    assert release_check.image_problems(image) == []


@pytest.mark.parametrize("image", [
    "", "registry.example.com/webhook-guard", "webhook-guard", "registry.test/guard:1", "registry.test/Guard",
    f"registry.test/guard@{DIGEST}", "registry.test/guard ", "registry.test/a;b", "https://registry.test/guard",
])
def test_another_name_of_an_image_is_a_problem(image):
    (problem,) = release_check.image_problems(image)
    assert problem.startswith(f"IMAGE is {image!r}")


@pytest.mark.parametrize("tag", ["v9.9.9", "v1';touch${IFS}PATH;'", "$(shell touch PATH)", "`touch PATH`"])
def test_make_release_check_runs_no_part_of_a_tag(tag, tmp_path):
    file = tmp_path / "touched"
    tag = tag.replace("PATH", str(file))
    done = subprocess.run(
        ["make", "--no-print-directory", "release-check"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, env={**os.environ, "TAG": tag, "MAKEFLAGS": ""},
    )
    assert done.returncode != 0
    assert f"the tag {tag!r} is not v" in done.stderr and "Traceback" not in done.stderr
    assert not file.exists()
