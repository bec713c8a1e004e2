"""Envoy with secrets-file.patch or secrets-sds.patch, and the files that these watch."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from harness.edge import EDGE, Edge, with_secrets
from harness.envoy import SHIPPED, Envoy
from harness.rotating import replace


class Sources:
    """The files of a source, `file` or `sds`, with two secrets."""

    def __init__(self, source: str, a: str, b: str) -> None:
        self.source = source
        self._folder = tempfile.TemporaryDirectory(prefix="webhook-guard-")
        self.folder = Path(self._folder.name)
        self.values: set = set()
        self.put("a", a)
        self.put("b", b)

    def put(self, name: str, value: str) -> None:
        """Puts a secret into its file, in one move."""
        self.values.add(value)
        text = value + "\n" if self.source == "file" else sds(f"orders-{name}", value)
        replace(self.file(name), text)

    def file(self, name: str) -> Path:
        return self.folder / (f"orders-{name}" if self.source == "file" else f"orders-{name}.yaml")

    def envoy(self, upstream_port: int, **options) -> Envoy:
        """An Envoy with envoy.yaml and the patch."""
        return Envoy(upstream_port, text=self._patched(SHIPPED.read_text()), **options)

    def edge(self, upstream_port: int, **options) -> Edge:
        """An Envoy with edge.yaml and the patch."""
        return Edge(upstream_port, text=self._patched(EDGE.read_text()), **options)

    def _patched(self, text: str) -> str:
        return with_secrets(text, self.source).replace("target/secrets", str(self.folder))


def sds(name: str, value: str) -> str:
    """A file of SDS that holds a secret."""
    secret = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name,
        "generic_secret": {"secret": {"inline_string": value}},
    }
    return json.dumps({"resources": [secret]})
