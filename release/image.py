"""Writes a container image of the module, as a tar archive of an OCI image layout.

The format is that of https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md, and the bytes depend on the
module alone. Istio and Envoy Gateway pull an image whose last layer is a gzipped tar with `plugin.wasm`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from archive import gzipped, tar

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def write(module: bytes, file: Path) -> str:
    """Writes the archive, and returns the digest of the image's manifest."""
    files = layout(module)
    file.write_bytes(tar(files))
    (manifest,) = json.loads(files["index.json"])["manifests"]
    return manifest["digest"]


def layout(module: bytes) -> dict:
    """The files of an OCI image layout, each with its content."""
    content = tar({"plugin.wasm": module})
    layer = gzipped(content)
    config = as_json({
        # The module runs on every platform. Docker refuses other systems than linux, and nothing that pulls the image compares
        # the architecture, because the manifest is not in an index.
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [sha256(content)]},
    })
    manifest = as_json({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": [descriptor(LAYER, layer)],
        # The compat variant of https://github.com/solo-io/wasm/blob/master/spec/spec-compat.md.
        "annotations": {"module.wasm.image/variant": "compat"},
    })
    index = as_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, manifest)]})
    blobs = {f"blobs/sha256/{hashlib.sha256(each).hexdigest()}": each for each in (config, layer, manifest)}
    return {"oci-layout": as_json({"imageLayoutVersion": "1.0.0"}), "index.json": index, **blobs}


def descriptor(media_type: str, content: bytes) -> dict:
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def as_json(value: dict) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
