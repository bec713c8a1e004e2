"""Lists what is inside a release: an SBOM of each artifact, their licences, and a list of crates in the module itself.

An SBOM is in the format CycloneDX 1.5, https://cyclonedx.org/docs/1.5/json/. The bytes depend on the commit and on the
artifact alone.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
import zlib
from pathlib import Path

import licenses
import toolchain
from crates import COMMAND, MODULE, Artifact, Crate, Failure, output, resolve

NOTICES = "THIRD-PARTY-NOTICES.txt"
SBOMS = {MODULE: "webhook_guard.cdx.json", COMMAND: "webhook-guard-cli.cdx.json"}
# https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md
CRATES_SECTION = b".dep-v0"
# In this version of the list, a macro counts as part of the build, which is left out here.
CRATES_FORMAT = 1
# The longest block of zlib that is stored as it is.
LONGEST_BLOCK = 65535


def write(folder: Path, module: bytes, command: bytes) -> None:
    """Writes the SBOMs and the notices of this module and this command line."""
    for artifact, content in ((MODULE, module), (COMMAND, command)):
        text = json.dumps(sbom(artifact, content), indent=2, ensure_ascii=False)
        (folder / SBOMS[artifact]).write_text(f"{text}\n", encoding="utf-8")
    licenses.write(folder / NOTICES)


# The list of crates in the module.


def with_crates(module: bytes) -> bytes:
    """The module with a custom section at its end, which `cargo audit bin` and `rust-audit-info` read."""
    name = unsigned(len(CRATES_SECTION)) + CRATES_SECTION
    if name in module:
        raise Failure("the module has a list of crates already: build it without cargo-auditable")
    content = name + stored(json.dumps(crate_list(), separators=(",", ":")).encode())
    return module + b"\x00" + unsigned(len(content)) + content


def crate_list() -> dict:
    crates = sorted(resolve(MODULE), key=lambda crate: crate.key)
    places = {crate.key: place for place, crate in enumerate(crates)}
    packages = []
    for crate in crates:
        package = {"name": crate.name, "version": crate.version, "source": "crates.io" if crate.checksum else "local"}
        if crate.dependencies:
            package["dependencies"] = sorted(places[key] for key in crate.dependencies)
        if not crate.checksum:
            package["root"] = True
        packages.append(package)
    return {"packages": packages, "format": CRATES_FORMAT}


def stored(content: bytes) -> bytes:
    """The format of zlib without compression, because implementations of zlib compress to different bytes."""
    blocks = [content[at:at + LONGEST_BLOCK] for at in range(0, len(content), LONGEST_BLOCK)]
    written = b"\x78\x01"
    for place, block in enumerate(blocks, 1):
        size = len(block)
        written += bytes([place == len(blocks)]) + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + block
    return written + zlib.adler32(content).to_bytes(4, "big")


def unsigned(number: int) -> bytes:
    """A number in LEB128, as WebAssembly writes sizes."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + unsigned(rest) if rest else bytes([low])


# The SBOM.


def sbom(artifact: Artifact, content: bytes) -> dict:
    root, *crates = resolve(artifact)
    parts = toolchain.parts(artifact)
    digest = hashlib.sha256(content).hexdigest()
    commit, seconds = output("git", "log", "-1", "--format=%H %ct").split()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        # The same for the same artifact, because a random number would change the bytes.
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, digest).urn,
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(seconds))),
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [{"type": "application", "name": "cargo", "version": toolchain.RUST}]},
            "component": {
                "type": artifact.kind,
                "bom-ref": artifact.file,
                "name": root.name,
                "version": root.version,
                "hashes": [{"alg": "SHA-256", "content": digest}],
                "licenses": license_choice(root.licence),
                # The package is not on crates.io, so a purl of cargo would name a package of others.
                "purl": f"pkg:generic/{root.name}@{root.version}?checksum=sha256:{digest}&file_name={artifact.file}",
                "properties": [
                    {"name": "webhook-guard:commit", "value": commit},
                    {"name": "webhook-guard:rustc", "value": toolchain.check()},
                    {"name": "cdx:rustc:sbom:target:triple", "value": artifact.target},
                ],
            },
        },
        "components": [*map(crate_component, crates), *(part_component(part, artifact) for part in parts)],
        "dependencies": dependencies(artifact, root, crates, parts),
    }


def crate_component(crate: Crate) -> dict:
    return {
        "type": "library",
        "bom-ref": purl(crate.key),
        "name": crate.name,
        "version": crate.version,
        "scope": "required",
        "hashes": [{"alg": "SHA-256", "content": crate.checksum}],
        "licenses": license_choice(crate.licence),
        "purl": purl(crate.key),
    }


def part_component(part: toolchain.Part, artifact: Artifact, whole: str = "") -> dict:
    component = {
        "type": "library",
        "bom-ref": f"{whole}{part.name}",
        "name": part.name,
        "version": part.version,
        "scope": "required",
        "licenses": license_choice(part.licence),
        "cpe": part.cpe,
        "purl": part.purl,
        "components": [part_component(each, artifact, f"{part.name}/") for each in part.parts if artifact in each.inside],
    }
    return {name: value for name, value in component.items() if value}


def dependencies(artifact: Artifact, root: Crate, crates: list, parts: list) -> list:
    """The graph. Every crate uses the standard library, so only the guard names it."""
    graph = {artifact.file: [*map(purl, root.dependencies), *(part.name for part in parts)]}
    graph.update((purl(crate.key), map(purl, crate.dependencies)) for crate in crates)
    graph.update((part.name, [f"{part.name}/{each.name}" for each in part.parts if artifact in each.inside]) for part in parts)
    return [{"ref": name, "dependsOn": sorted(needed)} for name, needed in graph.items()]


def license_choice(expression: str) -> list:
    """One licence by its SPDX identifier, or an expression of several."""
    return [{"expression": expression} if " " in expression else {"license": {"id": expression}}]


def purl(key: tuple) -> str:
    name, version = key
    return f"pkg:cargo/{name}@{version.replace('+', '%2B')}"
