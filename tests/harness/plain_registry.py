"""A container registry without TLS, with images of any layers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import urllib.request
from pathlib import Path

from harness.polling import until
from harness.process import end
from harness.release import push_module
from harness.tools import tool

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
MODULE_LAYER = "application/vnd.module.wasm.content.layer.v1+wasm"
MODULE_CONFIG = "application/vnd.module.wasm.config.v1+json"


class PlainRegistry:
    """A registry without TLS at an address."""

    def __init__(self, address: str, port: int, folder: Path) -> None:
        self.host = f"{address}:{port}"
        with open(folder / "registry.log", "wb") as log:
            command = [tool("crane"), "registry", "serve", f"--address={self.host}", f"--disk={folder}"]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._is_ready, what="the registry's readiness")

    def __enter__(self) -> PlainRegistry:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        end(self._process, 10)

    def push(self, module: bytes, version: str) -> str:
        """Pushes the image of a release with this module, and returns the digest of its manifest."""
        return push_module(module, f"{self.host}/webhook-guard", version)

    def push_index(self, tag: str, version: str) -> None:
        """Pushes an index that has the image of a version only."""
        name = f"{self.host}/webhook-guard"
        command = [tool("crane"), "index", "append", "--manifest", f"{name}:{version}", "--tag", f"{name}:{tag}"]
        subprocess.run(command, check=True, capture_output=True)

    def push_layers(self, tag: str, *layers: tuple, config: str = CONFIG) -> str:
        """Pushes an image of these layers, each a media type and its content. Returns the digest of the manifest."""
        described = [self._blob(*each) for each in layers]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self._blob(config, b"{}"), "layers": described}
        content = json.dumps(manifest).encode()
        self._send("PUT", f"/v2/webhook-guard/manifests/{tag}", content, MANIFEST)
        return hashlib.sha256(content).hexdigest()

    def _blob(self, media_type: str, content: bytes) -> dict:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._send("POST", f"/v2/webhook-guard/blobs/uploads/?digest={digest}", content, "application/octet-stream")
        return {"mediaType": media_type, "size": len(content), "digest": digest}

    def _send(self, method: str, path: str, content: bytes | None = None, kind: str = "") -> None:
        url = f"http://{self.host}{path}"
        request = urllib.request.Request(url, content, {"content-type": kind}, method=method)
        urllib.request.urlopen(request, timeout=30).close()

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, "the registry ended"
        try:
            self._send("GET", "/v2/")
        except OSError:
            return False
        return True
