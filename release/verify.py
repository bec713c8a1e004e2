"""Verifies the files of a release, the image and their signatures. Any doubt is an error.

    make verify IMAGE=registry.example.com/guard REPOSITORY=owner/name      a release of this repository's workflow
    make verify IMAGE=registry.example.com/guard COSIGN_PUBLIC_KEY=FILE     a release that was signed with a key pair

The files are in target/dist, or in the folder DIST. Users run the same commands from the page about releases.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import changelog

ROOT = Path(__file__).resolve().parent.parent
SUMS = "SHA256SUMS"
MODULE = "webhook_guard.wasm"
SBOM = "webhook_guard.cdx.json"
ARCHIVE = "webhook-guard-image.tar"
DIGEST = "image-digest.txt"
ISSUER = "https://token.actions.githubusercontent.com"
WORKFLOW = ".github/workflows/release.yml"
# These are not in SHA256SUMS, because they are made from it.
SIGNED_SUMS, SIGNED_MODULE = f"{SUMS}.sigstore.json", f"{MODULE}.sigstore.json"
SIGNED_SBOM, PROVENANCE = "webhook_guard.cdx.sigstore.json", "provenance.sigstore.json"
FOR_OPENSSL = (f"{SUMS}.sig", f"{SUMS}.pem", f"{SUMS}.tsr")
SIGNATURES = (SIGNED_SUMS, SIGNED_MODULE, SIGNED_SBOM, PROVENANCE, *FOR_OPENSSL)


class Failure(Exception):
    """The release is not what it should be. The text says why."""


def main() -> None:
    environment = os.environ
    version = environment.get("VERSION") or package_version()
    folder = Path(environment.get("DIST") or ROOT / "target" / "dist")
    try:
        release(folder, environment["IMAGE"], version, signer(environment, version))
    except Failure as failure:
        sys.exit(f"verify: {failure}")


def signer(environment, version: str) -> list:
    """The options of cosign that name the only accepted signer."""
    if environment.get("COSIGN_PUBLIC_KEY"):
        return by_key(environment["COSIGN_PUBLIC_KEY"])
    repository = environment.get("REPOSITORY") or environment.get("GITHUB_REPOSITORY")
    if not repository:
        raise Failure("set REPOSITORY=owner/name, or COSIGN_PUBLIC_KEY to the file with the public key")
    return by_identity(f"https://github.com/{repository}/{WORKFLOW}@refs/tags/v{version}")


def by_identity(identity: str) -> list:
    return ["--certificate-identity", identity, "--certificate-oidc-issuer", ISSUER]


def by_key(key: str) -> list:
    """A key pair has no certificate, and its signatures are in no public log."""
    return ["--key", key, "--insecure-ignore-tlog=true"]


def release(folder: Path, image: str, version: str, signer: list) -> None:
    """Verifies everything, and prints what is verified."""
    cosign("verify-blob", str(folder / SUMS), "--bundle", str(folder / SIGNED_SUMS), *signer)
    files = digests(folder)
    digest = built_image(folder)
    cosign("verify-blob", str(folder / MODULE), "--bundle", str(folder / SIGNED_MODULE), *signer)
    attestation = ["verify-blob-attestation", "--bundle", str(folder / SIGNED_SBOM), "--type", "cyclonedx", *signer]
    cosign(*attestation, str(folder / MODULE))
    if predicate(folder / SIGNED_SBOM) != described_module(folder):
        raise Failure(f"{SIGNED_SBOM} has another SBOM than {SBOM}")
    attestation = ["verify-blob-attestation", "--bundle", str(folder / PROVENANCE), "--type", "slsaprovenance1", *signer]
    for name in files:
        cosign(*attestation, str(folder / name))
    cosign(*attestation, "--digest", digest.removeprefix("sha256:"), "--digestAlg", "sha256")
    built = built_version(predicate(folder / PROVENANCE))
    if built != version:
        raise Failure(f"{PROVENANCE} is of the version {built}, not {version}: these are files of another release")
    published_image(folder, f"{image}:{version}", digest, signer)
    print(f"verified: {len(files)} files, and the image {image}@{digest}")


def digests(folder: Path) -> dict:
    """The SHA-256 of each file of a release by its name, if SHA256SUMS has the same and lists all files."""
    listed = {}
    for line in read(folder / SUMS).splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})  ([\w.-]+)", line)
        if not match:
            raise Failure(f"{SUMS} has a line of another form: {line}")
        listed[match[2]] = match[1]
    present = {each.name for each in folder.iterdir()} - {SUMS, *SIGNATURES}
    if present != set(listed):
        differing = ", ".join(sorted(present ^ set(listed)))
        raise Failure(f"{folder} and {SUMS} have different files: {differing}. Run `make dist` again")
    for name, digest in listed.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise Failure(f"{name} has another content than {SUMS} says: run `make dist` again")
    missing = {MODULE, SBOM, ARCHIVE, DIGEST} - set(listed)
    if missing:
        raise Failure(f"{folder} lacks {', '.join(sorted(missing))}: run `make dist` again")
    return listed


def described_module(folder: Path) -> dict:
    """The SBOM, if it is the one of this module."""
    sbom = json.loads(read(folder / SBOM))
    digest = hashlib.sha256((folder / MODULE).read_bytes()).hexdigest()
    if {"alg": "SHA-256", "content": digest} not in sbom["metadata"]["component"]["hashes"]:
        raise Failure(f"{SBOM} describes another module than {MODULE}: run `make dist` again")
    return sbom


def built_version(provenance: dict) -> str:
    """The version of a release. A signature by a key pair does not have the tag in the identity of its signer."""
    parameters = provenance["buildDefinition"]["externalParameters"]
    return parameters["version"] if "version" in parameters else parameters["workflow"]["ref"].removeprefix("refs/tags/v")


def built_image(folder: Path) -> str:
    """The digest of the image in the archive, if the image has the module of this release alone."""
    with tarfile.open(folder / ARCHIVE) as tar:
        def blob(digest: str) -> bytes:
            content = tar.extractfile(f"blobs/{digest.replace(':', '/')}").read()
            if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
                raise Failure(f"{ARCHIVE} has another content than its digest {digest} says")
            return content

        (described,) = json.load(tar.extractfile("index.json"))["manifests"]
        digest = described["digest"]
        (layer,) = json.loads(blob(digest))["layers"]
        content = blob(layer["digest"])
    if read(folder / DIGEST).strip() != digest:
        raise Failure(f"{DIGEST} and {ARCHIVE} name different images: run `make dist` again")
    if files_of(content) != {"plugin.wasm": (folder / MODULE).read_bytes()}:
        raise Failure(f"the image does not have {MODULE} as its only file: run `make dist` again")
    return digest


def files_of(layer: bytes) -> dict:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar}


def published_image(folder: Path, tag: str, digest: str, signer: list) -> None:
    """The registry has the built image under its tag, and the image has a signature, the SBOM and provenance."""
    signed = json.loads(cosign("verify", tag, "--output", "json", *signer))
    found = {each["critical"]["image"]["docker-manifest-digest"] for each in signed}
    if found != {digest}:
        raise Failure(f"{tag} is {', '.join(sorted(found))}, but this release has {digest}")
    image = f"{tag.rpartition(':')[0]}@{digest}"
    cosign("verify", image, *signer)
    for kind, expected in (("cyclonedx", described_module(folder)), ("slsaprovenance1", predicate(folder / PROVENANCE))):
        attested = cosign("verify-attestation", image, "--type", kind, *signer).splitlines()
        if expected not in [payload(json.loads(line))["predicate"] for line in attested]:
            raise Failure(f"{image} has no attestation of the type {kind} with the content in {folder}")


def predicate(bundle: Path) -> dict:
    """The content of an attestation in a file."""
    return payload(json.loads(read(bundle))["dsseEnvelope"])["predicate"]


def payload(envelope: dict) -> dict:
    return json.loads(base64.b64decode(envelope["payload"]))


def cosign(*arguments: str) -> str:
    """The output of cosign. Its variables for options are not inherited, except for the servers and the password."""
    kept = ("COSIGN_TRUSTED_ROOT", "COSIGN_SIGNING_CONFIG", "COSIGN_PASSWORD")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COSIGN_") or name in kept}
    command = [os.environ.get("COSIGN") or "cosign", *arguments]
    try:
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError:
        raise Failure(f"`{command[0]}` is not in PATH: install cosign 3, or set COSIGN to its path") from None
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["without a reason"]
        raise Failure(f"cosign {' '.join(arguments)} failed: {reason[0]}")
    return done.stdout


def read(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        raise Failure(f"{file} does not exist") from None


def package_version() -> str:
    return changelog.package_version((ROOT / "Cargo.toml").read_text())


if __name__ == "__main__":
    main()
