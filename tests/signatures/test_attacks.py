"""An attacker publishes something else in place of a release. The commands of the page reject each attempt."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import shutil

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.envoy import MODULE
from harness.signed_release import REPOSITORY, fails, succeeds

OTHER = MODULE.read_bytes() + b"\x00\x02\x01x"  # with a custom section more
TAG = "refs/tags/v0.1.0"
ISSUER = "https://token.actions.githubusercontent.com"
# The service gives a time stamp to every client.
STAMP = """
openssl ts -query -data SHA256SUMS.sig -sha256 -cert -out query
curl -fsS -H 'content-type: application/timestamp-query' --data-binary @query -o SHA256SUMS.tsr \\
    https://timestamp.sigstore.dev/api/v1/timestamp
"""
# Other jobs that GitHub gives an identity to, each by the variables that differ.
STRANGERS = {
    "another repository": {
        "GITHUB_REPOSITORY": "stranger/webhook-guard",
        "GITHUB_WORKFLOW_REF": f"stranger/webhook-guard/.github/workflows/release.yml@{TAG}",
    },
    "another workflow": {"GITHUB_WORKFLOW_REF": f"{REPOSITORY}/.github/workflows/test.yml@{TAG}"},
    "another tag": {
        "GITHUB_REF": "refs/tags/v0.0.9",
        "GITHUB_WORKFLOW_REF": f"{REPOSITORY}/.github/workflows/release.yml@refs/tags/v0.0.9",
    },
    "a branch": {
        "GITHUB_REF": "refs/heads/v0.1.0",
        "GITHUB_WORKFLOW_REF": f"{REPOSITORY}/.github/workflows/release.yml@refs/heads/v0.1.0",
    },
    "a tag that starts the same": {
        "GITHUB_REF": f"{TAG}-x", "GITHUB_WORKFLOW_REF": f"{REPOSITORY}/.github/workflows/release.yml@{TAG}-x",
    },
}
IDENTITIES_DIFFER = "expected SAN value"


@pytest.fixture
def verify(release, page, downloads):
    """Runs blocks of the page in the folder with the files."""
    return lambda *blocks: release.run(page.commands(*blocks), downloads)


def sums(folder) -> None:
    """Writes SHA256SUMS for the files as they are."""
    names = [line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def signed_by(release, folder, how: dict):
    """Signs the files in the folder as another job, with all parts that the page names."""
    job = {**release.job(), **how}
    stranger = release.github_environment(job)
    for command in (
        "cosign sign-blob --yes --bundle SHA256SUMS.sigstore.json SHA256SUMS",
        "cosign sign-blob --yes --bundle webhook_guard.wasm.sigstore.json webhook_guard.wasm",
        "cosign attest-blob --yes --bundle webhook_guard.cdx.sigstore.json --type cyclonedx"
        " --predicate webhook_guard.cdx.json webhook_guard.wasm",
    ):
        succeeds(release.run(command, folder, **stranger))
    release.write_for_openssl(folder)


def test_a_changed_byte_of_the_module(page, downloads, verify):
    module = downloads / "webhook_guard.wasm"
    content = bytearray(module.read_bytes())
    content[-1] ^= 1
    module.write_bytes(content)
    fails(verify(page.cosign), "webhook_guard.wasm: FAILED")
    fails(verify(page.attestations), "failed to verify signature")
    succeeds(verify(page.authorities))
    fails(verify(page.openssl), "webhook_guard.wasm: FAILED")


def test_sums_of_another_module(page, downloads, verify):
    (downloads / "webhook_guard.wasm").write_bytes(OTHER)
    sums(downloads)
    fails(verify(page.cosign), "failed to verify signature")
    succeeds(verify(page.authorities))
    fails(verify(page.openssl), "Verification failure")


@pytest.mark.parametrize("how", STRANGERS.values(), ids=STRANGERS)
def test_files_that_another_job_signed(how, release, page, downloads, verify):
    """A signature with a valid certificate of GitHub, of each job that is not the release workflow at this tag."""
    (downloads / "webhook_guard.wasm").write_bytes(OTHER)
    sums(downloads)
    signed_by(release, downloads, how)
    fails(verify(page.cosign), IDENTITIES_DIFFER)
    fails(verify(page.attestations), IDENTITIES_DIFFER)
    succeeds(verify(page.authorities))
    openssl = verify(page.openssl)
    assert openssl.returncode != 0
    assert "SHA256SUMS.pem: OK" in openssl.stdout, "the certificate is valid, but not the workflow's"
    assert "webhook_guard.wasm: OK" not in openssl.stdout


def test_an_older_release_under_a_new_name(release, page, tmp_path):
    """The signatures of 0.1.0 are valid, but not for the tag v0.2.0."""
    renamed = shutil.copytree(release.files, tmp_path / "downloads")
    fails(release.run(page.commands(page.cosign, version="0.2.0"), renamed), IDENTITIES_DIFFER)
    succeeds(release.run(page.authorities, renamed))
    openssl = release.run(page.commands(page.openssl, version="0.2.0"), renamed)
    assert openssl.returncode != 0 and "webhook_guard.wasm: OK" not in openssl.stdout
    fails(release.run(page.commands(page.image, version="0.2.0"), renamed), IDENTITIES_DIFFER)


@pytest.mark.parametrize("name", ["SHA256SUMS.sigstore.json", "webhook_guard.cdx.sigstore.json", "provenance.sigstore.json"])
def test_a_missing_signature(name, page, downloads, verify):
    (downloads / name).unlink()
    fails(verify(page.cosign, page.attestations), "error during command execution")


@pytest.mark.parametrize("name", ["SHA256SUMS.sig", "SHA256SUMS.pem", "SHA256SUMS.tsr"])
def test_a_missing_part_for_openssl(name, page, downloads, verify):
    (downloads / name).unlink()
    succeeds(verify(page.authorities))
    fails(verify(page.openssl), name)


def test_a_time_stamp_of_another_signature(release, page, downloads, verify):
    """A stolen key of an old certificate could sign with a time stamp that is as old."""
    succeeds(verify(page.authorities))
    succeeds(release.run(STAMP.replace("-data SHA256SUMS.sig", "-data SHA256SUMS"), downloads))
    fails(verify(page.openssl), "message imprint mismatch")


@pytest.mark.parametrize("part", ["tlogEntries", "timestampVerificationData", "certificate"])
def test_a_signature_without_a_part(part, page, downloads, verify):
    bundle = downloads / "SHA256SUMS.sigstore.json"
    content = json.loads(bundle.read_text())
    del content["verificationMaterial"][part]
    bundle.write_text(json.dumps(content))
    fails(verify(page.cosign), "error during command execution")


def test_a_certificate_of_another_authority(release, page, downloads, verify):
    """The certificate has the identity of the workflow. The signature and the time stamp are right."""
    key, certificate = self_made_certificate(f"https://github.com/{REPOSITORY}/.github/workflows/release.yml@{TAG}")
    (downloads / "webhook_guard.wasm").write_bytes(OTHER)
    sums(downloads)
    signature = key.sign((downloads / "SHA256SUMS").read_bytes(), ec.ECDSA(hashes.SHA256()))
    (downloads / "SHA256SUMS.sig").write_bytes(signature)
    (downloads / "SHA256SUMS.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    succeeds(release.run(STAMP, downloads))
    succeeds(verify(page.authorities))
    fails(verify(page.openssl), "SHA256SUMS.pem: verification failed")

    bundle = downloads / "SHA256SUMS.sigstore.json"
    content = json.loads(bundle.read_text())
    material = content["verificationMaterial"]
    material["certificate"]["rawBytes"] = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    (stamp,) = material["timestampVerificationData"]["rfc3161Timestamps"]
    stamp["signedTimestamp"] = base64.b64encode((downloads / "SHA256SUMS.tsr").read_bytes()).decode()
    content["messageSignature"]["signature"] = base64.b64encode(signature).decode()
    digest = hashlib.sha256((downloads / "SHA256SUMS").read_bytes()).digest()
    content["messageSignature"]["messageDigest"]["digest"] = base64.b64encode(digest).decode()
    bundle.write_text(json.dumps(content))
    fails(verify(page.cosign), "error during command execution")


def self_made_certificate(identity: str):
    """A key and its certificate in the form of Fulcio's, by an authority of the same name."""
    key, authority = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now, minute = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(minutes=1)
    issuer = x509.Name([
        x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "sigstore.dev"),
        x509.NameAttribute(x509.NameOID.COMMON_NAME, "sigstore-intermediate"),
    ])
    builder = x509.CertificateBuilder(issuer, x509.Name([]), key.public_key(), 1, now - minute, now + 9 * minute)
    for extension in (
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]),
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), ISSUER.encode()),
        x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING]),
    ):
        builder = builder.add_extension(extension, critical=False)
    return key, builder.sign(authority, hashes.SHA256())


@pytest.mark.parametrize("kind", ["the SBOM", "the provenance"])
def test_an_attestation_of_another_module(kind, release, page, downloads, verify):
    """The workflow itself attested it, for other bytes."""
    other = downloads / "other.wasm"
    other.write_bytes(OTHER)
    name, options = {
        "the SBOM": ("webhook_guard.cdx.sigstore.json", "--type cyclonedx --predicate webhook_guard.cdx.json"),
        "the provenance": ("provenance.sigstore.json", "--type slsaprovenance1 --predicate provenance.json"),
    }[kind]
    statement = json.loads(base64.b64decode(
        json.loads((downloads / "provenance.sigstore.json").read_text())["dsseEnvelope"]["payload"]
    ))
    (downloads / "provenance.json").write_text(json.dumps(statement["predicate"]))
    attest = f"cosign attest-blob --yes --bundle {name} {options} other.wasm"
    succeeds(release.run(attest, downloads, **release.github_environment(release.job())))
    fails(verify(page.attestations), "provided artifact digests do not match digests in statement")


def test_a_signature_in_place_of_an_attestation(page, downloads, verify):
    shutil.copy(downloads / "webhook_guard.wasm.sigstore.json", downloads / "provenance.sigstore.json")
    fails(verify(page.attestations), "DSSE")
