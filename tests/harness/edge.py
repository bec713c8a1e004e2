"""Envoy with envoy/edge.yaml, or with one of its variants."""

from __future__ import annotations

import itertools
import json
import re

from harness.client import Client, post
from harness.envoy import ROOT, SECRET, Envoy
from harness.http2_client import Http2Client
from harness.sign import default
from harness.tls import Authority

FOLDER = ROOT / "envoy"
EDGE = FOLDER / "edge.yaml"
VARIANTS = sorted(FOLDER.glob("edge-*.patch"))


def variant(name: str) -> str:
    """edge.yaml with the changes of edge-NAME.patch."""
    return apply(EDGE.read_text(), (FOLDER / f"edge-{name}.patch").read_text())


def apply(text: str, patch: str, anywhere: bool = False) -> str:
    """Applies a unified diff to a text. Each hunk must fit exactly at its place.

    With `anywhere`, a hunk may fit at another place, if there is only one.
    """
    old, new, at = text.splitlines(keepends=True), [], 0
    _, *hunks = re.split(r"^@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@.*\n", patch, flags=re.MULTILINE)
    for start, hunk in zip(hunks[::2], hunks[1::2]):
        begin = only_place(old, hunk) if anywhere else int(start) - 1
        new += old[at:begin]
        at = begin
        for line in hunk.splitlines(keepends=True):
            if line[0] in " -":
                assert old[at] == line[1:], f"line {at + 1} is {old[at]!r}, not {line[1:]!r}"
                at += 1
            if line[0] in " +":
                new.append(line[1:])
    return "".join(new + old[at:])


def only_place(lines: list, hunk: str) -> int:
    """The line before which a hunk fits."""
    wanted = [line[1:] for line in hunk.splitlines(keepends=True) if line[0] in " -"]
    places = [at for at in range(len(lines)) if lines[at : at + len(wanted)] == wanted]
    assert len(places) == 1, f"{wanted[0]!r} stands {len(places)} times"
    return places[0]


def with_secrets(text: str, source: str) -> str:
    """A configuration with the changes of secrets-SOURCE.patch, which fits several."""
    return apply(text, (FOLDER / f"secrets-{source}.patch").read_text(), anywhere=True)


class Edge(Envoy):
    """One Envoy as in production, with a certificate of its own authority.

    `patch` is called with the configuration before it starts; `variant` names a patch in envoy/.
    """

    def __init__(
        self, upstream_port: int, configuration=None, *, variant_name=None, text=None, patch=None, **options
    ):
        text = text or (variant(variant_name) if variant_name else EDGE.read_text())
        self.authority = Authority()
        self._orders = itertools.count(42)
        super().__init__(upstream_port, configuration, text=text, **options)
        self.certificates = self.folder / "certificates"
        self.authority.write(self.certificates, "localhost", "127.0.0.1", "::1")
        self._localise_certificates()
        if patch:
            patch(self.document)

    def _localise_certificates(self) -> None:
        secrets = (FOLDER / "edge-certificate.json").read_text().replace("target/edge", str(self.certificates))
        file = self.folder / "edge-certificate.json"
        file.write_text(secrets)
        chain = self.document.listener["filter_chains"][0]
        common = chain["transport_socket"]["typed_config"]["common_tls_context"]
        (config,) = common["tls_certificate_sds_secret_configs"]
        config["sds_config"]["path_config_source"]["path"] = str(file)

    def client(self, **how) -> Client:
        """A connection over TLS and HTTP/1.1."""
        return Client(self.port, tls=self.authority.context(alpn=["http/1.1"]), **how)

    def http2_client(self, **how) -> Http2Client:
        """A connection over TLS and HTTP/2."""
        return Http2Client(self.port, tls=self.authority.context(alpn=["h2"]), **how)

    def post(self, path: str, headers=(), body: bytes = b"", method: str = "POST", **how):
        """An ordinary request over a connection of its own."""
        tls = self.authority.context(alpn=["http/1.1"])
        return post(self.port, path, headers, body, method, tls=tls, **how)

    def deliver(self, body: bytes | None = None, headers=(), **how):
        """A signed request to the shipped endpoint; by default each is another message."""
        body = b'{"order": %d}' % next(self._orders) if body is None else body
        return self.post("/webhook", [*default(SECRET, body), *headers], body, **how)

    def destination(self, port: int, *more_ports: int) -> None:
        """Names the upstream's ports, where there is more than one."""
        hosts = [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": each}}}}
            for each in (port, *more_ports)
        ]
        self.document.cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = hosts

    def rate_limited(self, which: str) -> int:
        """How many requests the `shield` or the `limit` refused."""
        return self.stats(f"^{which}[.]").get(f"{which}.http_local_rate_limit.rate_limited", 0)

    def dump(self) -> dict:
        """The configuration that Envoy runs."""
        return json.loads(self.get("/config_dump"))
