"""Certificates of an authority of our own, and what a client does with them."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


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
        put(folder, "ca.crt", self.pem)
        put(folder, f"{prefix}.key", issued.private_key_pem.bytes())
        put(folder, f"{prefix}.crt", chain)

    def write_identity(self, folder: Path, identity: str) -> None:
        """Puts tls.crt and tls.key for a SPIFFE identity, and ca.crt, into the folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        authority = x509.load_pem_x509_certificate(self.pem)
        signing = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        now = datetime.datetime.now(datetime.timezone.utc)
        uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
        builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(authority.subject)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        issued = builder.add_extension(uri, critical=True).sign(signing, hashes.SHA256())
        put(folder, "ca.crt", self.pem)
        put(folder, "tls.crt", issued.public_bytes(serialization.Encoding.PEM))
        put(folder, "tls.key", key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ))

    def server(self, folder: Path, *names: str) -> ssl.SSLContext:
        """How a server with a certificate for these names takes connections."""
        self.write(folder, *names)
        return server(folder)

    def context(self, *, alpn=(), version=None, ciphers="", certificate: Path | None = None):
        """How a client connects that trusts this authority alone.

        `version` is the only version that the client offers. `ciphers` are OpenSSL's names for TLS 1.2 and older,
        including weak ones. `certificate` is the path of the client's own, without `.crt`.
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


def server(folder: Path) -> ssl.SSLContext:
    """How a server with the certificate in this folder takes connections, over whatever version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


def write_self_signed(folder: Path, name: str) -> None:
    """Puts tls.crt and tls.key for this name into the folder, which no authority has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    itself = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    serial = x509.random_serial_number()
    certificate = (
        x509.CertificateBuilder(itself, itself, key.public_key(), serial, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    put(folder, "tls.key", key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    put(folder, "tls.crt", certificate.public_bytes(pem))


def put(folder: Path, name: str, data: bytes) -> None:
    """Writes a file in one move, into a folder that is made if need be."""
    folder.mkdir(exist_ok=True)
    scratch = folder / f".{name}"
    scratch.write_bytes(data)
    scratch.rename(folder / name)
