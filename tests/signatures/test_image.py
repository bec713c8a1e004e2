"""An attacker changes the registry. The commands of the page reject that, or show only what the workflow signed."""

from __future__ import annotations

import base64
import json

import pytest

from harness.envoy import MODULE
from harness.signed_release import NAME, fails, image_of, succeeds

OTHER = MODULE.read_bytes() + b"\x00\x02\x01x"
STRANGER = "stranger/webhook-guard"


@pytest.fixture
def digest(release):
    """The digest of the released image. The fixture resets the tags that a test changes."""
    digest = (release.files / "image-digest.txt").read_text().strip()
    signatures = referrers(digest)
    saved = succeeds(release.run(f"crane digest {NAME}:{signatures}")).strip()
    yield digest
    succeeds(release.run(f"crane tag {NAME}@{digest} 0.1.0 && crane tag {NAME}@{saved} {signatures}"))


@pytest.fixture
def other(release, digest, tmp_path):
    """An image of another module, to which the attacker has moved the tag."""
    folder, other = tmp_path / "other", image_of(OTHER, tmp_path / "other")
    succeeds(release.run(f"crane push {folder} {NAME}:0.1.0"))
    return other


@pytest.fixture
def verify(release, page, downloads):
    """The commands of the page for an image."""

    def verify(image: str | None = None):
        commands = page.commands(page.image)
        return release.run(commands.replace("$IMAGE@$DIGEST", image) if image else commands, downloads)

    return verify


def referrers(digest: str) -> str:
    """The tag with the list of an image's signatures, in a registry without an API for them."""
    return digest.replace(":", "-")


def test_a_moved_tag_does_not_change_a_digest(verify, other, digest):
    """The tag is moved between verification and pull. The page names the digest in both."""
    assert other != digest
    assert digest in succeeds(verify())
    fails(verify(f"{NAME}:0.1.0"), "no signatures found")


def test_an_image_that_another_job_signed(release, verify, other):
    job = {**release.job(), "GITHUB_WORKFLOW_REF": f"{STRANGER}/.github/workflows/release.yml@refs/tags/v0.1.0"}
    image = f"{NAME}@{other}"
    succeeds(release.run(f"cosign sign --yes {image}", **release.github_environment(job)))
    fails(verify(image), "expected SAN value")


def test_the_signature_of_the_released_image_at_another_one(release, verify, other, digest):
    succeeds(release.run(f"crane tag {NAME}:{referrers(digest)} {referrers(other)}"))
    fails(verify(f"{NAME}@{other}"), "error during command execution")


def test_removed_signatures(release, verify, digest):
    succeeds(release.run(f"crane delete {NAME}:{referrers(digest)}"))
    fails(verify(), "no signatures found")


def test_an_sbom_that_another_job_attested(release, page, downloads, verify, digest):
    """Everybody with access to the registry can add one. The commands show the workflow's alone."""
    job = {**release.job(), "GITHUB_WORKFLOW_REF": f"{STRANGER}/.github/workflows/release.yml@refs/tags/v0.1.0"}
    (downloads / "false.json").write_text('{"bomFormat":"CycloneDX","specVersion":"1.6"}')
    succeeds(release.run(
        f"cosign attest --yes --type cyclonedx --predicate false.json {NAME}@{digest}", downloads,
        **release.github_environment(job),
    ))
    succeeds(verify())
    shown = release.run(page.commands(page.image.replace(" >/dev/null", " 2>/dev/null")), downloads)
    sboms = [each["predicate"] for each in statements(succeeds(shown)) if each["predicateType"] == "https://cyclonedx.org/bom"]
    assert sboms == [json.loads((downloads / "webhook_guard.cdx.json").read_text())]


def statements(shown: str) -> list:
    envelopes = [json.loads(line) for line in shown.splitlines() if line.startswith('{"payload')]
    return [json.loads(base64.b64decode(each["payload"])) for each in envelopes]


def test_a_mirror_has_the_signatures_too(release, page, downloads, digest):
    """Everything of the page before this block is verified. Then the reader writes the name of the mirror into IMAGE."""
    succeeds(release.run(page.commands(page.image, page.mirror, "IMAGE=$MIRROR", page.image), downloads))
    mirror = f"{NAME.partition('/')[0]}/mirror/webhook-guard"
    assert succeeds(release.run(f"crane digest {mirror}:{release.version}")).strip() == digest
