"""The image of a release: its bytes, what is in it, and the tools that read it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile

import pytest

from harness.envoy import MODULE
from harness.plain_registry import PlainRegistry
from harness.ports import free_ports
from harness.release import archive, image, push
from harness.tools import tool

# Of the image and of its archive, if the module is the six bytes `module`. With other values here, the next build of a
# released version would have another digest.
DIGEST = "sha256:fd2d3bb5a9ded23036022eadc26f64dd1478f2dafb65fc170488f299989d601e"
SHA256 = "ca294dd613f48414b1a7ebd0c41ed1dba704287ba4a69a4162f15abe300a5760"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The archive of a release, and the digest of its image."""
    file = tmp_path_factory.mktemp("image") / "image.tar"
    return file, image.write(MODULE.read_bytes(), file)


@pytest.fixture(scope="module")
def layout(released, tmp_path_factory):
    """The unpacked archive."""
    folder = tmp_path_factory.mktemp("layout")
    push.unpack(released[0], str(folder))
    return folder


@pytest.fixture(scope="module")
def reference(released, tmp_path_factory):
    """The image in a registry, as `make push` names it."""
    with PlainRegistry("127.0.0.1", *free_ports(1), tmp_path_factory.mktemp("registry")) as registry:
        yield push.push(released[0], f"{registry.host}/webhook-guard", "0.1.0", str(tool("crane")))


def run(*command) -> bytes:
    done = subprocess.run([str(each) for each in command], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def blob(layout, descriptor: dict) -> bytes:
    """The content of a descriptor, which must have its size and its digest."""
    content = (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
    assert (image.sha256(content), len(content)) == (descriptor["digest"], descriptor["size"])
    return content


def test_the_bytes_are_the_same_with_every_version_of_python_and_zlib(tmp_path):
    file = tmp_path / "image.tar"
    assert image.write(b"module", file) == DIGEST
    assert hashlib.sha256(file.read_bytes()).hexdigest() == SHA256


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 131070, 131071])
def test_stored_gzip_has_the_content(size):
    content = os.urandom(size)
    assert gzip.decompress(archive.gzipped(content)) == content


def test_an_archive_has_the_files_with_their_modes():
    files = {"a/command": b"#!/bin/sh\n", "a/text": b"x" * 512, "empty": b""}
    with tarfile.open(fileobj=io.BytesIO(archive.tar(files, executables=("a/command",)))) as tar:
        assert {each.name: tar.extractfile(each).read() for each in tar} == files
        assert [each.mode for each in tar] == [0o755, 0o644, 0o644]
        assert {(each.uid, each.gid, each.mtime) for each in tar} == {(0, 0, 0)}


def test_an_archive_refuses_a_path_that_its_header_cannot_hold():
    with pytest.raises(ValueError, match="more than 100 bytes"):
        archive.tar({"x" * 101: b""})


def test_the_layout_has_one_image_with_one_layer(layout, released):
    index = json.loads((layout / "index.json").read_text())
    (found,) = index["manifests"]
    assert found["digest"] == released[1]
    manifest = json.loads(blob(layout, found))
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert manifest["annotations"] == {"module.wasm.image/variant": "compat"}
    config = json.loads(blob(layout, manifest["config"]))
    assert config["rootfs"]["diff_ids"] == [image.sha256(gzip.decompress(blob(layout, layer)))]
    assert not config["config"]
    assert len(list((layout / "blobs" / "sha256").iterdir())) == 3


def test_every_user_can_read_the_module_and_only_root_can_write_it(layout):
    """istio-proxy has the uid 1337, and the Envoy of Envoy Gateway 65532."""
    (found,) = json.loads((layout / "index.json").read_text())["manifests"]
    (layer,) = json.loads(blob(layout, found))["layers"]
    with tarfile.open(fileobj=io.BytesIO(blob(layout, layer))) as tar:
        (entry,) = tar
        assert (entry.name, entry.mode, entry.uid) == ("plugin.wasm", 0o644, 0)
        assert tar.extractfile(entry).read() == MODULE.read_bytes()


def test_crane_finds_no_fault_and_exports_the_module(reference, tmp_path):
    run(tool("crane"), "validate", "--remote", reference)
    run(tool("crane"), "export", reference, tmp_path / "files.tar")
    with tarfile.open(tmp_path / "files.tar") as tar:
        assert {each.name: tar.extractfile(each).read() for each in tar} == {"plugin.wasm": MODULE.read_bytes()}


@pytest.mark.parametrize("mirror", ["crane copy", "skopeo copy", "skopeo copy of the archive"])
def test_a_mirror_has_the_same_digest(mirror, reference, released):
    """The commands are those of release/README.md."""
    host = reference.partition("/")[0]
    copy = f"{host}/{mirror.replace(' ', '-')}:0.1.0"
    skopeo = [tool("skopeo"), "--insecure-policy", "copy", "--preserve-digests"]
    if mirror == "crane copy":
        run(tool("crane"), "copy", reference, copy)
    else:
        insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"]
        source = f"oci-archive:{released[0]}" if "archive" in mirror else f"docker://{reference}"
        run(*skopeo, *insecure, source, f"docker://{copy}")
    assert run(tool("crane"), "digest", copy).decode().strip() == released[1]
