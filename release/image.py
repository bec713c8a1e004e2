"""Writes a container image of the module, as a tar archive of an OCI image layout.

The bytes depend on the module alone: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md. Istio and
Envoy Gateway pull an image whose last layer is a gzipped tar with `plugin.wasm`.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import zlib
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def write(module: bytes, file: Path) -> str:
    """Writes the archive, and returns the digest of the image's manifest."""
    files = layout(module)
    file.write_bytes(archive(files))
    (manifest,) = json.loads(files["index.json"])["manifests"]
    return manifest["digest"]


def layout(module: bytes) -> dict:
    """The files of an OCI image layout, each with its content."""
    content = archive({"plugin.wasm": module})
    layer = gzipped(content)
    config = as_json({
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
    index = as_json({"schemaVersion": 2, "manifests": [descriptor(MANIFEST, manifest)]})
    blobs = {f"blobs/sha256/{hashlib.sha256(each).hexdigest()}": each for each in (config, layer, manifest)}
    return {"oci-layout": as_json({"imageLayoutVersion": "1.0.0"}), "index.json": index, **blobs}


def descriptor(media_type: str, content: bytes) -> dict:
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def as_json(value: dict) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def archive(files: dict) -> bytes:
    """A tar archive of these files, without times and owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def gzipped(content: bytes) -> bytes:
    """Compressed as gzip. The module `gzip` writes different headers in different versions of Python."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(content) + deflate.flush()
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    return header + body + struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)
