"""Signs the files of a release and the pushed image, and verifies the result.

    make sign IMAGE=registry.example.com/guard                      in the workflow: with the identity of the workflow
    make sign IMAGE=registry.example.com/guard COSIGN_KEY=FILE      elsewhere: with a key pair of `cosign generate-key-pair`

A signature with a key pair is made without a network, except for the registry. The password of the key is in
COSIGN_PASSWORD.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import sys
import tempfile
from pathlib import Path

import provenance
import verify
from verify import Failure, cosign


def main() -> None:
    folder, image = verify.ROOT / "target" / "dist", os.environ["IMAGE"]
    version = verify.package_version()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            options, signer = identity(os.environ, Path(scratch))
            sign(folder, image, version, options, Path(scratch))
            verify.release(folder, image, version, signer)
    except (Failure, provenance.Failure) as failure:
        sys.exit(f"sign: {failure}")


def identity(environment, scratch: Path) -> tuple:
    """The options of cosign that sign, and those that verify with the same signer."""
    key = environment.get("COSIGN_KEY")
    if key:
        nothing, public = scratch / "signing-config.json", scratch / "cosign.pub"
        cosign("signing-config", "create", "--out", str(nothing))
        public.write_text(cosign("public-key", "--key", key))
        return ["--yes", "--key", key, "--signing-config", str(nothing)], verify.by_key(str(public))
    if not provenance.in_workflow(environment):
        raise Failure("set COSIGN_KEY to the file with a private key: only the workflow has an identity")
    return ["--yes"], verify.by_identity(provenance.identity(environment))


def sign(folder: Path, image: str, version: str, options: list, scratch: Path) -> None:
    """Writes all signatures, after a check of what they sign."""
    for name in verify.SIGNATURES:
        (folder / name).unlink(missing_ok=True)
    files = verify.digests(folder)
    digest = verify.built_image(folder)
    verify.described_module(folder)
    build = scratch / "provenance.json"
    build.write_text(json.dumps(provenance.predicate(version, verify.ROOT, os.environ)))
    # One statement is about all files, and about the image for those who do not ask its registry. For images, cosign 3.1
    # takes the predicate alone.
    statement = scratch / "statement.json"
    subjects = {**files, image: digest.removeprefix("sha256:")}
    statement.write_text(json.dumps(provenance.statement(subjects, json.loads(build.read_text()))))

    # The image is first, because it is the part that a registry can refuse.
    published = f"{image}@{digest}"
    cosign("sign", *options, published)
    cosign("attest", *options, "--type", "cyclonedx", "--predicate", str(folder / verify.SBOM), published)
    cosign("attest", *options, "--type", "slsaprovenance1", "--predicate", str(build), published)

    def bundle(name: str) -> list:
        return ["--bundle", str(folder / name)]

    module = str(folder / verify.MODULE)
    sbom = ["--type", "cyclonedx", "--predicate", str(folder / verify.SBOM)]
    cosign("sign-blob", *options, *bundle(verify.SIGNED_MODULE), module)
    cosign("attest-blob", *options, *bundle(verify.SIGNED_SBOM), *sbom, module)
    cosign("attest-blob", *options, *bundle(verify.PROVENANCE), "--statement", str(statement))
    cosign("sign-blob", *options, *bundle(verify.SIGNED_SUMS), str(folder / verify.SUMS))
    write_for_openssl(folder)


def write_for_openssl(folder: Path) -> None:
    """Writes the parts of the bundle of SHA256SUMS as files that openssl reads."""
    bundle = json.loads((folder / verify.SIGNED_SUMS).read_text())
    material = bundle["verificationMaterial"]
    signature, certificate, time = (folder / name for name in verify.FOR_OPENSSL)
    signature.write_bytes(base64.b64decode(bundle["messageSignature"]["signature"]))
    if "certificate" in material:
        certificate.write_text(ssl.DER_cert_to_PEM_cert(base64.b64decode(material["certificate"]["rawBytes"])))
        (stamp,) = material["timestampVerificationData"]["rfc3161Timestamps"]
        time.write_bytes(base64.b64decode(stamp["signedTimestamp"]))


if __name__ == "__main__":
    main()
