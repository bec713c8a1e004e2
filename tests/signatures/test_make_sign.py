"""`make sign` and `make verify` refuse whatever is not the release that was built."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest

from harness.envoy import MODULE
from harness.signed_release import NAME, REPOSITORY, Release, fails, image_of, sign, succeeds
from harness.tools import tool

# With a custom section more. The image of this module is in the registry only where a test has pushed it.
OTHER = MODULE.read_bytes() + b"\x00\x02\x01y"
VERSION = "0.3.0"


@pytest.fixture
def unsigned(tmp_path, sigstore):
    """A release that is built and pushed. The registry keeps its tag for the next test, with the same image."""
    unsigned = Release(tmp_path / "release", sigstore, VERSION)
    unsigned.build(MODULE.read_bytes())
    unsigned.push()
    return unsigned


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """Two key pairs, each the file of the private key. The public one is next to it."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("own", "other"):
        command = [tool("cosign"), "generate-key-pair", "--output-key-prefix", name]
        subprocess.run(command, cwd=folder, env={"COSIGN_PASSWORD": "", "HOME": str(folder)}, check=True, capture_output=True)
    return folder / "own.key", folder / "other.key"


def change_module(release) -> None:
    (release.files / "webhook_guard.wasm").write_bytes(OTHER)


def change_module_and_sums(release) -> None:
    change_module(release)
    release.write_sums()


def change_sbom(release) -> None:
    release.write_sbom("0" * 64)


def change_digest(release) -> None:
    (release.files / "image-digest.txt").write_text(f"sha256:{'0' * 64}\n")
    release.write_sums()


def add_file(release) -> None:
    (release.files / "more.txt").write_text("x")


def remove_file(release) -> None:
    (release.files / "webhook_guard.cdx.json").unlink()


def remove_file_and_line(release) -> None:
    remove_file(release)
    release.write_sums()


def change_commit(release) -> None:
    (release.folder / "release" / "image.py").write_text("")


def add_source(release) -> None:
    (release.folder / "build.rs").write_text("")


def change_version(release) -> None:
    (release.folder / "Cargo.toml").write_text('[package]\nversion = "0.3.1"\n')


@pytest.mark.parametrize("change, reason", [
    (change_module, "webhook_guard.wasm has another content than SHA256SUMS says"),
    (change_module_and_sums, "the image does not have webhook_guard.wasm as its only file"),
    (change_sbom, "webhook_guard.cdx.json describes another module"),
    (change_digest, "image-digest.txt and webhook-guard-image.tar name different images"),
    (add_file, "have different files: more.txt"),
    (remove_file, "have different files: webhook_guard.cdx.json"),
    (remove_file_and_line, "lacks webhook_guard.cdx.json"),
    (change_commit, "changes that are not in the commit: release/image.py"),
    (add_source, "changes that are not in the commit: build.rs"),
    (change_version, "Cargo.toml has the version 0.3.1"),
], ids=lambda each: each.__name__ if callable(each) else "")
def test_other_files_are_not_signed(change, reason, unsigned):
    change(unsigned)
    fails(unsigned.sign(), reason)
    assert not list(unsigned.files.glob("*.sigstore.json"))


@pytest.mark.parametrize("how, reason", [
    ({"GITHUB_REF": "refs/heads/main"}, "GITHUB_REF is 'refs/heads/main'"),
    ({"GITHUB_REF": "refs/tags/v0.3.1"}, "Cargo.toml has the version 0.3.0: push the tag v0.3.0"),
    ({"GITHUB_SHA": "0" * 40}, "check out that commit"),
    ({"GITHUB_REPOSITORY": "stranger/webhook-guard"}, "is not in stranger/webhook-guard"),
    ({"GITHUB_REPOSITORY": f"{REPOSITORY}\nx"}, "GITHUB_REPOSITORY is"),
    ({"GITHUB_WORKFLOW_REF": f"{REPOSITORY}/.github/workflows/test.yml@refs/tags/v{VERSION}"}, "GITHUB_WORKFLOW_REF is"),
    ({"GITHUB_RUN_ID": "1/../2"}, "GITHUB_RUN_ID is"),
    ({"GITHUB_EVENT_NAME": "pull_request"}, "GITHUB_EVENT_NAME is"),
    ({"GITHUB_ACTIONS": ""}, "only the workflow has an identity"),
    ({"COSIGN": "/nonexistent"}, "install cosign 3"),
    ({"ACTIONS_ID_TOKEN_REQUEST_URL": ""}, "failed"),
], ids=lambda each: next(iter(each)) if isinstance(each, dict) else "")
def test_other_jobs_do_not_sign(how, reason, unsigned):
    fails(unsigned.sign(**how), reason)
    assert not list(unsigned.files.glob("*.sigstore.json"))


def test_an_image_that_was_not_pushed_is_not_signed(unsigned):
    unsigned.build(OTHER)
    fails(unsigned.sign(), "404 Not Found")
    assert not list(unsigned.files.glob("*.sigstore.json"))


def test_a_tag_of_another_image_is_an_error(unsigned, tmp_path):
    """The built image is in the registry, but users of the tag would get another one."""
    image_of(OTHER, tmp_path / "other")
    succeeds(unsigned.run(f"crane push {tmp_path / 'other'} {NAME}:{VERSION}"))
    fails(unsigned.sign(), f"cosign verify {NAME}:{VERSION}")
    job = unsigned.github_environment(unsigned.job())
    succeeds(unsigned.run(f"cosign sign --yes {NAME}:{VERSION}", **job))
    fails(unsigned.verify(), f"{NAME}:{VERSION} is sha256:")


def test_a_key_pair_signs_without_a_network(unsigned, keys):
    own, other = keys
    succeeds(unsigned.sign_with_key(own))
    assert "verified: 4 files" in succeeds(unsigned.verify(COSIGN_PUBLIC_KEY=str(own.with_suffix(".pub"))))
    fails(unsigned.verify(COSIGN_PUBLIC_KEY=str(other.with_suffix(".pub"))), "cosign verify-blob")
    fails(unsigned.verify(), "cosign verify-blob")
    fails(unsigned.verify(COSIGN_PUBLIC_KEY=str(own.with_suffix(".pub")), VERSION="0.3.1"), "these are files of another release")
    content = predicate(unsigned)
    assert content["runDetails"]["builder"]["id"] == "urn:webhook-guard:local-build"
    assert "metadata" not in content["runDetails"]


def test_the_provenance_names_commit_workflow_and_run(release):
    content, job = predicate(release), release.job()
    build, run = content["buildDefinition"], content["runDetails"]
    repository = f"https://github.com/{REPOSITORY}"
    assert build["externalParameters"]["workflow"] == {
        "ref": "refs/tags/v0.1.0", "repository": repository, "path": ".github/workflows/release.yml",
    }
    assert build["resolvedDependencies"] == [
        {"uri": f"git+{repository}@refs/tags/v0.1.0", "digest": {"gitCommit": job["GITHUB_SHA"]}},
    ]
    assert run["builder"]["id"] == f"{repository}/.github/workflows/release.yml@refs/tags/v0.1.0"
    assert run["metadata"]["invocationId"] == f"{repository}/actions/runs/1000/attempts/1"


def test_the_provenance_is_about_every_file_and_the_image(release):
    subjects = {each["name"]: each["digest"] for each in payload(release)["subject"]}
    image = (release.files / "image-digest.txt").read_text().strip().removeprefix("sha256:")
    files = {name: {"sha256": digest} for name, digest in sums(release.files).items()}
    assert subjects == {**files, NAME: {"sha256": image}}


def test_the_provenance_of_the_image_needs_no_registry(release, downloads):
    digest = (downloads / "image-digest.txt").read_text().strip().removeprefix("sha256:")
    verify = (
        "cosign verify-blob-attestation --bundle provenance.sigstore.json --type slsaprovenance1 --digestAlg sha256"
        f" --certificate-identity https://github.com/{REPOSITORY}/.github/workflows/release.yml@refs/tags/v{release.version}"
        f" --certificate-oidc-issuer {sign.verify.ISSUER} --digest "
    )
    succeeds(release.run(verify + digest, downloads))
    fails(release.run(verify + "0" * 64, downloads), "provided artifact digest does not match any digest in statement")


def test_the_commit_can_be_required(release, page, downloads):
    """GitHub put it into the certificate, so the workflow cannot write another one."""
    commands = page.commands(page.cosign.replace("cosign verify-blob", "cosign verify-blob --certificate-github-workflow-sha=$COMMIT"))
    succeeds(release.run(commands, downloads, COMMIT=release.job()["GITHUB_SHA"]))
    fails(release.run(commands, downloads, COMMIT="0" * 40), "error during command execution")


def payload(release) -> dict:
    bundle = json.loads((release.files / "provenance.sigstore.json").read_text())
    return json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))


def predicate(release) -> dict:
    return payload(release)["predicate"]


def sums(folder) -> dict:
    return {name: digest for digest, name in map(str.split, (folder / "SHA256SUMS").read_text().splitlines())}


def swap(downloads, name: str, other: str) -> None:
    (downloads / name).write_bytes((downloads / other).read_bytes())


def without_the_image(release, downloads) -> None:
    """Provenance of the files alone, signed by the workflow."""
    attest(release, downloads, sums(downloads))


def attest(release, downloads, subjects: dict) -> None:
    (downloads / "statement.json").write_text(json.dumps(sign.provenance.statement(subjects, predicate(release))))
    script = "cosign attest-blob --yes --bundle provenance.sigstore.json --statement statement.json"
    succeeds(release.run(script, downloads, **release.github_environment(release.job())))
    (downloads / "statement.json").unlink()


def other_sbom(release, downloads, in_bundle: bool) -> None:
    """Another SBOM of the same module, signed by the workflow. The registry has the first one."""
    sbom = json.loads((downloads / "webhook_guard.cdx.json").read_text())
    (downloads / "webhook_guard.cdx.json").write_text(json.dumps({**sbom, "version": 2}))
    succeeds(release.run("sed -i /cdx/d SHA256SUMS && sha256sum webhook_guard.cdx.json >>SHA256SUMS", downloads))
    script = "cosign sign-blob --yes --bundle SHA256SUMS.sigstore.json SHA256SUMS\n"
    if in_bundle:
        script += (
            "cosign attest-blob --yes --bundle webhook_guard.cdx.sigstore.json --type cyclonedx"
            " --predicate webhook_guard.cdx.json webhook_guard.wasm\n"
        )
        image = (downloads / "image-digest.txt").read_text().strip().removeprefix("sha256:")
        attest(release, downloads, {**sums(downloads), NAME: image})
    succeeds(release.run(script, downloads, **release.github_environment(release.job())))


@pytest.mark.parametrize("change, reason", [
    (lambda _, files: swap(files, "SHA256SUMS.sigstore.json", "webhook_guard.wasm.sigstore.json"), "downloads/SHA256SUMS --bundle"),
    (lambda _, files: swap(files, "webhook_guard.wasm.sigstore.json", "SHA256SUMS.sigstore.json"), "downloads/webhook_guard.wasm --bundle"),
    (lambda release, files: other_sbom(release, files, False), "has another SBOM than webhook_guard.cdx.json"),
    (lambda release, files: other_sbom(release, files, True), "has no attestation of the type cyclonedx with the content"),
    (without_the_image, "--digestAlg sha256 failed"),
], ids=["sums", "module", "SBOM", "SBOM in the registry", "provenance without the image"])
def test_maintainers_see_a_changed_signature(change, reason, release, downloads):
    change(release, downloads)
    fails(release.verify(DIST=str(downloads)), reason)
