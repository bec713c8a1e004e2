"""SBOMs, notices and the list of crates, compared with cargo, rustc and readers of others."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fastjsonschema
import pytest
from license_expression import get_spdx_licensing
from packageurl import PackageURL

from harness import sign, wasm
from harness.client import post
from harness.envoy import MODULE, ROOT, SECRET, Envoy
from harness.upstream import Upstream

sys.path.insert(0, str(ROOT / "release"))

import crates  # noqa: E402
import inventory  # noqa: E402
import licenses  # noqa: E402
import toolchain  # noqa: E402

ARTIFACTS = (crates.MODULE, crates.COMMAND)
READER = ROOT / ".tools" / "cargo" / "bin" / "rust-audit-info"
CARGO_HOME = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
COMMAND = b"the bytes of a command line"


@pytest.fixture(scope="module")
def module() -> bytes:
    """The module of a release."""
    return inventory.with_crates(MODULE.read_bytes())


@pytest.fixture(scope="module")
def folder(module, tmp_path_factory) -> Path:
    """A folder with the SBOMs and the notices."""
    folder = tmp_path_factory.mktemp("dist")
    inventory.write(folder, module, COMMAND)
    return folder


@pytest.fixture(scope="module", params=ARTIFACTS, ids=lambda artifact: artifact.file)
def artifact(request) -> crates.Artifact:
    return request.param


@pytest.fixture
def sbom(artifact, folder) -> dict:
    return json.loads((folder / inventory.SBOMS[artifact]).read_text(encoding="utf-8"))


def crate_components(sbom: dict) -> list:
    return [each for each in sbom["components"] if each["bom-ref"].startswith("pkg:cargo/")]


def components(sbom: dict) -> list:
    """All components, also the parts of others."""
    return [each for whole in sbom["components"] for each in (whole, *whole.get("components", ()))]


# SBOMs.


def test_an_sbom_follows_the_schema_of_cyclonedx(sbom):
    def schema(uri: str) -> dict:
        name = uri.rpartition("/")[2].replace(".SNAPSHOT", "").replace(".schema", ".SNAPSHOT.schema")
        return json.loads((importlib.resources.files("cyclonedx.schema._res") / name).read_text(encoding="utf-8"))

    validate = fastjsonschema.compile(schema(sbom["$schema"]), handlers={"http": schema})
    validate(sbom)
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        validate({**sbom, "metadata": {"component": {"type": "wasm"}}})


def test_an_sbom_has_the_graph_that_cargo_builds(artifact, sbom):
    built = build_plan(artifact)
    named = {each["bom-ref"]: f"{each['name']} {each['version']}" for each in crate_components(sbom)}
    named[artifact.file] = "webhook-guard 0.1.0"
    graph = {
        named[each["ref"]]: {named[needed] for needed in each["dependsOn"] if needed in named}
        for each in sbom["dependencies"] if each["ref"] in named
    }
    assert graph == built


def build_plan(artifact: crates.Artifact) -> dict:
    """The crates that cargo compiles for the target of this artifact, and what each one uses."""
    done = subprocess.run(
        [
            "cargo", "build", "--release", "--locked", "--target", artifact.target,
            "--features", ",".join(artifact.features), "--unit-graph", "-Z", "unstable-options",
        ],
        cwd=ROOT, env={**os.environ, "RUSTC_BOOTSTRAP": "1"}, check=True, stdout=subprocess.PIPE,
    )
    units = json.loads(done.stdout)["units"]

    def name(unit: dict) -> str:
        package, _, version = unit["pkg_id"].rpartition("#")[2].rpartition("@")
        # The folder names a local package if both are the same.
        return f"{package or 'webhook-guard'} {version}"

    # Macros and build scripts have no platform: they run during the build.
    inside = [unit["mode"] == "build" and unit["platform"] == artifact.target for unit in units]
    plan: dict = {}
    for place, unit in enumerate(units):
        if inside[place]:
            uses = {name(units[each["index"]]) for each in unit["dependencies"] if inside[each["index"]]}
            plan.setdefault(name(unit), set()).update(uses - {name(unit)})
    return plan


def test_checksums_are_those_of_the_crates_archives(sbom):
    listed = {f"{each['name']}-{each['version']}": each["hashes"] for each in crate_components(sbom)}
    assert len(listed) > 40
    for name, hashes in listed.items():
        (archive,) = CARGO_HOME.glob(f"registry/cache/*/{name}.crate")
        assert hashes == [{"alg": "SHA-256", "content": hashlib.sha256(archive.read_bytes()).hexdigest()}], name


def test_an_sbom_names_the_artifact_and_its_commit(artifact, module, sbom):
    component = sbom["metadata"]["component"]
    properties = {each["name"]: each["value"] for each in component["properties"]}
    content = module if artifact is crates.MODULE else COMMAND
    assert component["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]
    assert properties["webhook-guard:commit"] == git("rev-parse", "HEAD")
    assert properties["webhook-guard:rustc"].startswith(f"rustc {toolchain.RUST} (")


def test_licences_and_package_urls_can_be_read(sbom):
    spdx = get_spdx_licensing()
    for component in components(sbom):
        (licence,) = component["licenses"]
        expression = licence.get("expression") or licence["license"]["id"]
        assert not spdx.validate(expression).errors, component["name"]
        if "purl" in component:
            url = PackageURL.from_string(component["purl"])
            assert url.name in (component["name"], "rust", "gcc") and url.to_string() == component["purl"], component["purl"]


def test_every_component_has_a_package_url(sbom):
    assert not [component["name"] for component in sbom["components"] if "purl" not in component]


def test_another_folder_another_cargo_home_and_other_flags_give_the_same_bytes(module, folder, tmp_path):
    copy, home = tmp_path / "a copy", tmp_path / "home"
    for file in git("ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / file).exists():
            shutil.copyfile(ROOT / file, copy / file)
    (copy / ".git").write_text(f"gitdir: {git('rev-parse', '--absolute-git-dir')}\n")
    home.mkdir()
    (home / "registry").symlink_to(CARGO_HOME / "registry")
    (tmp_path / "module").write_bytes(module)
    write = "import inventory, pathlib, sys; m, c, f = sys.argv[1:]; inventory.write(pathlib.Path(f), pathlib.Path(m).read_bytes(), c.encode())"
    environment = {**os.environ, "CARGO_HOME": str(home), "TZ": "Asia/Tokyo"}
    # With these, another crate takes part in the user's own builds.
    environment["RUSTFLAGS"] = '--cfg curve25519_dalek_backend="fiat"'
    subprocess.run(
        [sys.executable, "-B", "-c", write, str(tmp_path / "module"), COMMAND.decode(), str(tmp_path)],
        cwd=copy / "release", env={**environment, "PYTHONPATH": str(copy / "release")}, check=True,
    )
    for name in (*inventory.SBOMS.values(), inventory.NOTICES):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert text == (folder / name).read_text(encoding="utf-8"), name
        assert str(CARGO_HOME) not in text and str(ROOT) not in text, name


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


# Parts of the toolchain.


def test_the_parts_of_the_standard_library_are_those_that_rustc_links(artifact, tmp_path):
    (tmp_path / "empty.rs").write_text("fn main() {}")
    linked = rustc(
        "--target", artifact.target, "-C", "linker=rust-lld", "-C", "panic=abort", "--print", "link-args",
        "-o", str(tmp_path / "empty"), str(tmp_path / "empty.rs"),
    )
    found = set(re.findall(r"lib(\w+)-[0-9a-f]{16}\.rlib", linked))
    own = {"alloc", "core", "panic_abort", "std", "std_detect", "unwind"}
    workspace = {each for each in found if each.startswith("rustc_std_workspace")}
    listed = {each.name.replace("-", "_") for each in toolchain.STANDARD_LIBRARY.parts if artifact in each.inside}
    assert found - own - workspace == listed


def test_the_versions_of_the_standard_librarys_parts_are_those_in_the_toolchain(artifact):
    libraries = Path(rustc("--print", "sysroot").strip()) / "lib" / "rustlib" / artifact.target / "lib"
    for part in toolchain.STANDARD_LIBRARY.parts:
        if artifact in part.inside and part.purl.startswith("pkg:cargo/"):
            (library,) = libraries.glob(f"lib{part.name.replace('-', '_')}-*.rlib")
            # The paths of sources, which adler2 does not have.
            versions = re.findall(rf"/rust/deps/{part.name}-([0-9.]+)".encode(), library.read_bytes())
            assert {each.decode() for each in versions} == ({part.version.partition("+")[0]} if versions else set())
            assert versions or part.name == "adler2"


def test_the_c_libraries_are_those_in_the_toolchain():
    assert set(re.findall(rb"wasisdk://v([0-9.]+)/", own_library(crates.MODULE, "libc.a"))) == {toolchain.WASI_SDK.encode()}
    assert f"\0{toolchain.MUSL}\0".encode() in own_library(crates.COMMAND, "libc.a")
    assert f"GCC: (GNU) {toolchain.GCC_START.version}\0".encode() in own_library(crates.COMMAND, "crtbeginS.o")
    assert b"/llvm-project/libunwind/" in own_library(crates.COMMAND, "libunwind.a")


def own_library(artifact: crates.Artifact, name: str) -> bytes:
    """A library of the toolchain for this target."""
    target = Path(rustc("--print", "sysroot").strip()) / "lib" / "rustlib" / artifact.target
    return (target / "lib" / "self-contained" / name).read_bytes()


def rustc(*arguments: str) -> str:
    return subprocess.run(["rustc", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_an_unknown_toolchain_is_refused(monkeypatch):
    monkeypatch.setattr(toolchain, "RUST", "1.94.0")
    with pytest.raises(crates.Failure, match="describes Rust 1.94.0, and rustc is .*: update the table"):
        toolchain.check()


# The list of crates in the module.


def test_the_reader_of_cargo_auditable_finds_the_crates_of_the_sbom(module, folder, tmp_path):
    (tmp_path / "plugin.wasm").write_bytes(module)
    shown = subprocess.run([str(READER), str(tmp_path / "plugin.wasm")], check=True, stdout=subprocess.PIPE).stdout
    packages = json.loads(shown)["packages"]
    sbom = json.loads((folder / inventory.SBOMS[crates.MODULE]).read_text(encoding="utf-8"))
    assert {(each["name"], each["version"]) for each in packages if each["source"] == "crates.io"} == {
        (each["name"], each["version"]) for each in crate_components(sbom)
    }
    graph = {each["name"]: {packages[place]["name"] for place in each.get("dependencies", ())} for each in packages}
    refs = {each["bom-ref"]: each["name"] for each in crate_components(sbom)}
    assert graph["p256"] == {refs[ref] for each in sbom["dependencies"] if "/p256@" in each["ref"] for ref in each["dependsOn"]}
    assert [each["name"] for each in packages if each.get("root")] == ["webhook-guard"]


def test_a_release_adds_one_section_to_the_module_and_nothing_else(module):
    built = MODULE.read_bytes()
    assert module[: len(built)] == built
    added = module[len(built):]
    size, start = wasm.unsigned(added, 1)
    name, _ = wasm.text(added, start)
    assert (added[0], start + size, name) == (0, len(added), b".dep-v0")


def test_a_module_with_a_list_is_refused(module):
    with pytest.raises(crates.Failure, match="has a list of crates already"):
        inventory.with_crates(module)


def test_envoy_verifies_with_the_module_of_a_release(module, tmp_path):
    file = tmp_path / "webhook_guard.wasm"
    file.write_bytes(module)

    def patch(document) -> None:
        document.guard["vm_config"]["code"]["local"]["filename"] = str(file)

    with Upstream() as upstream, Envoy(upstream.port, patch=patch) as envoy:
        assert post(envoy.port, "/webhook", sign.default(SECRET, b"order"), b"order").status == 200
        assert post(envoy.port, "/webhook", sign.default(SECRET, b"other"), b"order").status == 401
        assert [each.body for each in upstream.requests] == [b"order"]


# Licences.


def test_the_notices_name_all_that_is_inside(sbom, folder):
    notices = (folder / inventory.NOTICES).read_text(encoding="utf-8")
    for component in components(sbom):
        name = f"{component['name']} {component.get('version', '')}".strip()
        assert re.search(rf"^{re.escape(name)}( \(part of .*\))?$", notices, re.MULTILINE), name


def test_the_notices_have_each_copyright_line_of_a_crate(folder):
    notices = (folder / inventory.NOTICES).read_text(encoding="utf-8")
    for crate in [each for artifact in ARTIFACTS for each in crates.resolve(artifact)[1:]]:
        for file in crate.folder.glob("**/*LICENSE*"):
            lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
            for line in lines:
                if re.match(r"\s*Copyright (\(c\) )?\d", line, re.IGNORECASE):
                    assert line.strip() in notices, (crate.name, line)


def test_each_entry_names_a_text_of_its_licence(folder):
    notices = (folder / inventory.NOTICES).read_text(encoding="utf-8")
    entries, *texts = re.split(r"^=+\nText \d+\n=+\n", notices, flags=re.MULTILINE)
    found = re.findall(r"^    licence: (.+?)(?: \(chosen: (.+)\))?\n    text: (.+)$", entries, re.MULTILINE)
    assert len(found) == len(re.findall("^    inside:", entries, re.MULTILINE)) > 80
    for licence, chosen, numbers in found:
        written = "\n".join(texts[int(number) - 1] for number in numbers.split(", "))
        for one in (chosen or licence).replace(" WITH LLVM-exception", "").split(" AND "):
            words = {**licenses.CHOICES, **OTHERS}[one]
            assert words in " ".join(written.split()), (licence, chosen, numbers)


OTHERS = {
    "BSD-2-Clause": "Redistributions in binary form must reproduce the above copyright notice",
    "GPL-3.0-or-later WITH GCC-exception-3.1": "GCC RUNTIME LIBRARY EXCEPTION",
    "CC0-1.0": "creativecommons.org/publicdomain/zero/1.0",
    "Unicode-3.0": "UNICODE LICENSE V3",
}


@pytest.mark.parametrize("text", [None, "All rights reserved."])
def test_a_crate_without_a_text_of_its_licence_is_refused(tmp_path, text):
    if text:
        (tmp_path / "LICENSE").write_text(text)
    crate = crates.Crate("left-pad", "1.0.0", "MIT", "0" * 64, tmp_path, set())
    with pytest.raises(crates.Failure, match=f"left-pad 1.0.0: {re.escape(str(tmp_path))} has no text of its licence, MIT: add"):
        licenses.work(crate, ["webhook-guard"])


def test_a_notice_file_of_a_crate_is_kept(tmp_path):
    (tmp_path / "LICENSE").write_text((ROOT / "LICENSE").read_text())
    (tmp_path / "NOTICE").write_text("This product includes software of the Example Foundation.")
    crate = crates.Crate("left-pad", "1.0.0", "Apache-2.0 OR MIT", "0" * 64, tmp_path, set())
    assert "Example Foundation" in licenses.work(crate, ["webhook-guard"]).texts[1]
