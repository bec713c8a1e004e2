"""TLS, by OpenSSL as the client: versions, suites, groups, protocols, and certificates that change."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading

import pytest

from harness.client import TIMEOUT, Client, connect, request
from harness.envoy import SECRET
from harness.http2_client import Http2Client
from harness.polling import until
from harness.sign import default
from harness.tls import put

BODY = b'{"order": 42}'
DELIVERY = request("/webhook", default(SECRET, BODY), BODY)
V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
NAMES = {V1_2: "TLSv1.2", V1_3: "TLSv1.3"}
SUITES = [
    "ECDHE-{}-AES128-GCM-SHA256",
    "ECDHE-{}-AES256-GCM-SHA384",
    "ECDHE-{}-CHACHA20-POLY1305",
]
# Ciphers of older clients: CBC, no forward secrecy, both, or Diffie-Hellman without curves.
WEAK = [
    "ECDHE-{}-AES128-SHA256",
    "ECDHE-{}-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-SHA",
    "AES128-SHA",
    "DHE-RSA-AES128-GCM-SHA256",
]


def handshake(edge, **context) -> ssl.SSLSocket:
    """A connection as a client with this context makes it; raises where Envoy refuses."""
    return connect(edge.port, TIMEOUT, tls=edge.authority.context(**context))


def assert_refused(edge, **context) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(edge, **context).close()


@pytest.fixture(params=["ECDSA", "RSA"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def of_kind(edge, kind):
    """An Envoy with a certificate of this kind."""
    if kind == "RSA":
        edge.authority.write(edge.certificates, "localhost", rsa=True)
        until(lambda: is_rsa(edge), what="the RSA certificate")
    return edge


def is_rsa(edge) -> bool:
    try:
        handshake(edge, version=V1_2, ciphers="aRSA").close()
        return True
    except ssl.SSLError:
        return False


@pytest.mark.parametrize("version", [V1_2, V1_3])
def test_versions_that_are_safe(version, edge):
    with handshake(edge, version=version) as connection:
        connection.sendall(DELIVERY)
        assert connection.recv(15).startswith(b"HTTP/1.1 200")
    logged = until(edge.access_lines)[0]
    assert logged["tls"] == NAMES[version]


# They are deprecated for good reasons, which is why they are offered here.
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_versions_that_are_unsafe(version, start, upstream):
    """Even with suites that they know: those of edge.yaml are for TLS 1.2."""

    def old_suites(document):
        context = document.listener["filter_chains"][0]["transport_socket"]["typed_config"]
        context["common_tls_context"]["tls_params"]["cipher_suites"] += ["ECDHE-ECDSA-AES128-SHA"]

    edge = start(upstream, patch=old_suites)
    handshake(edge, version=V1_2, ciphers="ECDHE-ECDSA-AES128-SHA").close()
    assert_refused(edge, version=version)


def test_suites(of_kind, kind):
    """With one kind of certificate after the other: nothing weak is agreed on, all else is."""
    for suite in SUITES:
        with handshake(of_kind, version=V1_2, ciphers=suite.format(kind)) as connection:
            assert connection.cipher()[0] == suite.format(kind)
    for suite in WEAK:
        assert_refused(of_kind, version=V1_2, ciphers=suite.format(kind))


def test_no_other_suite(of_kind, kind):
    """A client that offers whatever OpenSSL knows, but for the six, finds none."""
    others = ":".join(["ALL", *(f"!{suite.format(each)}" for suite in SUITES for each in ("ECDSA", "RSA"))])
    offered = {each["name"] for each in of_kind.authority.context(version=V1_2, ciphers=others).get_ciphers()}
    assert offered >= {suite.format(kind) for suite in WEAK}
    assert_refused(of_kind, version=V1_2, ciphers=others)


# Over TLS 1.2 a certificate for ECDSA binds the client to its own curve: RSA leaves the choice open.
@pytest.mark.parametrize("kind", ["RSA"])
@pytest.mark.parametrize("version", [V1_2, V1_3])
@pytest.mark.parametrize("group", ["X25519", "prime256v1"])
def test_groups_that_are_accepted(group, version, of_kind):
    with connect(of_kind.port, TIMEOUT, tls=offering(of_kind, group, version)) as connection:
        assert connection.version() == NAMES[version]


@pytest.mark.parametrize("kind", ["RSA"])
@pytest.mark.parametrize("version", [V1_2, V1_3])
def test_groups_that_are_refused(version, of_kind):
    for group in ("secp384r1", "secp521r1"):
        context = offering(of_kind, group, version)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connect(of_kind.port, TIMEOUT, tls=context).close()


def offering(edge, group: str, version) -> ssl.SSLContext:
    """A client that knows this group alone."""
    context = edge.authority.context(version=version)
    try:
        context.set_ecdh_curve(group)
    except ssl.SSLError:
        assert group == "X25519"
        pytest.skip("this Python cannot name X25519 to OpenSSL")
    return context


def test_protocols(edge):
    for offered, agreed in [
        (["h2"], "h2"),
        (["http/1.1"], "http/1.1"),
        (["http/1.1", "h2"], "h2"),
        (["spdy/1"], None),
        ([], None),
    ]:
        with handshake(edge, alpn=offered) as connection:
            assert connection.selected_alpn_protocol() == agreed
    with edge.http2_client() as client:
        headers = [(name.lower(), value) for name, value in default(SECRET, BODY)]
        assert client.ask("/webhook", headers, BODY)[0] == 200
    with Client(edge.port, tls=edge.authority.context()) as client:
        assert client.ask(DELIVERY).status == 200


def test_plain_text_gets_no_http_answer(edge, upstream):
    with upstream.nothing(), connect(edge.port, TIMEOUT) as connection:
        connection.sendall(DELIVERY)
        answered = b""
        with contextlib.suppress(ConnectionError):
            answered = connection.recv(100)
        assert not answered.startswith(b"HTTP"), answered


@pytest.mark.parametrize("version", [V1_2, V1_3])
def test_no_session_is_resumed(version, edge):
    context = edge.authority.context(version=version)
    with connect(edge.port, TIMEOUT, tls=context) as first:
        first.sendall(DELIVERY)
        first.recv(100)
        session = first.session
        assert not (session and session.has_ticket)
        # Ended as it should be: else the client itself forgets the session.
        with contextlib.suppress(OSError):
            first.unwrap()
    with socket.create_connection(("127.0.0.1", edge.port), timeout=TIMEOUT) as plain:
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as second:
            assert not second.session_reused


def test_a_handshake_has_to_end(start, upstream):
    def hurry(document):
        assert document.listener["filter_chains"][0]["transport_socket_connect_timeout"] == "10s"
        document.listener["filter_chains"][0]["transport_socket_connect_timeout"] = "0.5s"

    edge = start(upstream, patch=hurry)
    with socket.create_connection(("127.0.0.1", edge.port), timeout=TIMEOUT) as connection:
        # Only the first bytes of a ClientHello.
        connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert connection.recv(100) == b""


class Senders:
    """Clients that deliver without a pause, each over a new connection every time."""

    def __init__(self, edge, count: int = 3) -> None:
        self.edge, self.statuses, self.stop = edge, [], threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(count)]

    def run(self, number: int) -> None:
        # 100 a minute are the limit of one address.
        for last in itertools.cycle(range(2, 252)):
            if self.stop.is_set():
                return
            try:
                answer = self.edge.deliver(source=f"127.0.{number + 1}.{last}")
                self.statuses.append(answer.status)
            except OSError as error:
                self.statuses.append(error)

    def __enter__(self) -> "Senders":
        for each in self.threads:
            each.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop.set()
        for each in self.threads:
            each.join()


def serial(edge) -> int:
    """The serial number of the certificate that is served."""
    with handshake(edge) as connection:
        return int(connection.getpeercert()["serialNumber"], 16)


def test_a_new_certificate_is_served_while_requests_run(edge):
    """Over new connections all the time, and over one from before the first change."""
    served = [serial(edge)]
    with edge.client() as old, Senders(edge) as senders:
        for _ in range(3):
            edge.authority.write(edge.certificates, "localhost")
            served.append(until(lambda: (found := serial(edge)) not in served and found, what="the new certificate"))
            before = len(senders.statuses)
            until(lambda: len(senders.statuses) >= before + 20, TIMEOUT, "deliveries after it")
            assert old.ask(DELIVERY).status == 200
    assert set(senders.statuses) == {200}
    assert len(set(served)) == 4


def test_a_directory_that_changes_as_a_whole_is_seen(edge):
    """As Kubernetes mounts secrets: the files are links through `..data`, which is replaced."""
    folder, before = edge.certificates, serial(edge)
    (folder / "..data").symlink_to("..old")
    for name in ("tls.key", "tls.crt"):
        (folder / name).unlink()
        (folder / name).symlink_to(f"..data/{name}")
    edge.authority.write(folder / "..new", "localhost")
    (folder / "..scratch").symlink_to("..new")
    (folder / "..scratch").rename(folder / "..data")
    until(lambda: serial(edge) != before, what="the new certificate")


def test_a_broken_certificate_changes_nothing(edge):
    before = serial(edge)
    for name in ("tls.crt", "tls.key"):
        put(edge.certificates, name, b"this is no certificate")
    failed = "sds.webhooks.key_rotation_failed"
    until(lambda: edge.stats(failed)[failed] >= 2, what="Envoy to notice both")
    assert serial(edge) == before
    assert edge.deliver().status == 200
    edge.authority.write(edge.certificates, "localhost")
    until(lambda: serial(edge) != before, what="the certificate after the broken one")


def test_a_client_that_does_not_trust_the_authority_disconnects(edge):
    """The clients of the tests verify the certificate of this Envoy."""
    other = type(edge.authority)()
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(edge.port, TIMEOUT, tls=other.context())


def test_http2_works_over_both_versions(edge):
    for version in (V1_2, V1_3):
        with Http2Client(edge.port, tls=edge.authority.context(alpn=["h2"], version=version)) as client:
            assert client.ask("/webhook", [], BODY)[0] == 401
