"""Certificates of an authority of our own, and what a client does with them."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Authority:
    """A certificate authority; what it writes, it writes in one move, as a rotation should."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.pem = self._ca.cert_pem.bytes()

    def write(self, folder: Path, *names: str, prefix: str = "tls", rsa: bool = False) -> None:
        """Puts PREFIX.crt and PREFIX.key for these names, and ca.crt, into the folder."""
        kind = trustme.KeyType.RSA if rsa else trustme.KeyType.ECDSA
        issued = self._ca.issue_cert(*names, key_type=kind)
        chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
        folder.mkdir(exist_ok=True)
        for name, data in (
            ("ca.crt", self.pem),
            (f"{prefix}.key", issued.private_key_pem.bytes()),
            (f"{prefix}.crt", chain),
        ):
            scratch = folder / f".{name}"
            scratch.write_bytes(data)
            scratch.rename(folder / name)

    def server(self, folder: Path, *names: str) -> ssl.SSLContext:
        """How a server with a certificate for these names takes connections."""
        self.write(folder, *names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        return context

    def context(self, *, alpn=(), version=None, ciphers="", certificate: Path | None = None) -> ssl.SSLContext:
        """How a client connects that trusts this authority alone.

        `version` is the only one it offers; `ciphers` are OpenSSL's names, of TLS 1.2 and older, however
        weak; `certificate` is the path of its own, without `.crt`.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.pem.decode())
        if alpn:
            context.set_alpn_protocols(list(alpn))
        # Whether OpenSSL itself would refuse them, is not what a test asks.
        context.set_ciphers((ciphers or "ALL") + ":@SECLEVEL=0")
        if version:
            context.minimum_version = context.maximum_version = version
        if certificate:
            context.load_cert_chain(f"{certificate}.crt", f"{certificate}.key")
        return context
