"""edge.yaml with each of its patches: behind a load balancer, with certificates of senders, before HTTPS."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import struct

import pytest

from harness import balancer
from harness.client import TIMEOUT, connect, post
from harness.edge import Edge, variant
from harness.envoy import SECRET, Document
from harness.full_config import endpoint
from harness.http1 import Closed
from harness.http2_client import Http2Client
from harness.polling import until
from harness.sign import default
from harness.tls import Authority, server, write_self_signed
from harness.upstream import Upstream

BODY = b'{"order": 42}'
HERE = "127.0.0.3"


def configuration(name: str) -> dict:
    """Endpoints for senders in some network each, whose address is known as the variant has it."""
    (shipped,) = Document(variant(name)).guard["configuration"]["value"]["endpoints"]
    way = shipped["client_address"]
    return {
        "endpoints": [
            endpoint("any", client_address=way),
            endpoint("here", allow=[f"{HERE}/32"], client_address=way),
            endpoint("test-net", allow=["192.0.2.0/24", "2001:db8::/32"], client_address=way),
        ]
    }


def deliver(edge: Edge, path: str, *headers, **how) -> int:
    return edge.post(path, [*default(SECRET, BODY), *headers], BODY, **how).status


def assert_silent(edge: Edge, **how) -> None:
    """There is no answer: the connection is closed before its handshake."""
    with pytest.raises((OSError, Closed)):
        edge.deliver(timeout=5, **how)


class TestForwarded:
    @pytest.fixture
    def edge(self, start, upstream):
        return start(upstream, configuration("forwarded"), variant_name="forwarded")

    def test_behind_a_load_balancer_its_client_counts(self, edge, upstream):
        with balancer.over_http(edge) as front:
            for path, source, headers, status in [
                ("/here", HERE, [], 200),
                ("/here", "127.0.0.4", [], 403),
                ("/here", "127.0.0.4", [("x-forwarded-for", HERE)], 403),
                ("/test-net", HERE, [("x-forwarded-for", "192.0.2.1")], 403),
                ("/any", "127.0.0.4", [("x-real-ip", HERE), ("x-forwarded-for", HERE)], 200),
            ]:
                sent = [*default(SECRET, BODY), *headers]
                assert post(front.port, path, sent, BODY, source=source).status == status, (path, source)
        assert upstream.requests[-1].all("x-real-ip") == ["127.0.0.4"]
        assert edge.count("here", "denied", "client_address_denied") == 2

    @pytest.mark.parametrize(
        "value", [None, "", "garbage", "192.0.2.1, garbage", "192.0.2.300", "192.0.2.1:4711", "-"]
    )
    def test_without_an_address_every_request_is_rejected(self, value, edge, upstream):
        """Envoy falls back to the load balancer's address, which is not on the list."""
        headers = [] if value is None else [("x-forwarded-for", value)]
        with upstream.nothing():
            assert deliver(edge, "/here", *headers, source=HERE) == 403
            assert deliver(edge, "/test-net", *headers) == 403
        assert edge.count("here", "denied", "client_address_untrusted") == 1

    def test_the_last_entry_counts_and_may_be_of_ipv6(self, edge, upstream):
        for value, status in [
            ("192.0.2.1", 200),
            ("10.0.0.1, 192.0.2.1", 200),
            ("192.0.2.1, 10.0.0.1", 403),
            ("2001:db8::1", 200),
            ("::ffff:192.0.2.1", 200),
            ("2001:db9::1", 403),
        ]:
            assert deliver(edge, "/test-net", ("x-forwarded-for", value)) == status, value

    def test_a_client_that_breaks_off_does_not_end_others_deliveries(self, edge, upstream):
        """The load balancer's connections are everybody's: Envoy may not close one for many resets."""
        sent = [(name.lower(), value) for name, value in default(SECRET, BODY)]
        with contextlib.ExitStack() as ends, balancer.over_http(edge, http2=True) as front:
            # More than one, since each worker of the load balancer has a connection of its own.
            good = [ends.enter_context(Http2Client(front.port, source="127.0.0.7")) for _ in range(8)]
            streams = [client.headers("/any", sent) for client in good]
            for client, stream in zip(good, streams):
                client.data(stream, BODY[:5])
            for _ in range(6):
                with Http2Client(front.port, source="127.0.0.66") as attacker:
                    for _ in range(200):
                        attacker.reset(attacker.headers("/any", [("x-webhook-signature", "0" * 64)]))
            until(lambda: edge.count("any", "denied", "incomplete") > 300, what="the resets")
            for client, stream in zip(good, streams):
                client.data(stream, BODY[5:], end=True)
            assert [client.answer(stream)[0] for client, stream in zip(good, streams)] == [200] * 8
        assert edge.stats("premature")["http.webhooks.downstream_rq_too_many_premature_resets"] == 0
        assert edge.stats("http.webhooks.downstream_cx_http2_total")["http.webhooks.downstream_cx_http2_total"] > 0

    def test_only_the_load_balancer_can_connect(self, start, upstream):
        edge = start(upstream, configuration("forwarded"), variant_name="forwarded", patch=only_from(HERE))
        with upstream.nothing():
            assert_silent(edge, headers=[("x-forwarded-for", "192.0.2.1")])
        until(lambda: set(filter(None, edge.stats("no_filter_chain_match").values())) == {1}, what="the refusal to count")
        assert deliver(edge, "/test-net", ("x-forwarded-for", "192.0.2.1"), source=HERE) == 200


def only_from(address: str):
    """Names the load balancer's address."""

    def patch(document):
        match = document.listener["filter_chains"][0]["filter_chain_match"]
        assert list(match) == ["direct_source_prefix_ranges"]
        match["direct_source_prefix_ranges"] = [{"address_prefix": address, "prefix_len": 32}]

    return patch


# PROXY protocol, version 2: what it begins with, and its commands: with an address, and without.
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PROXY, LOCAL = 0x21, 0x20
TCP6 = 0x21


def header_2(command: int, addresses: bytes = b"") -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, TCP6 if addresses else 0, len(addresses)) + addresses


def tcp6_addresses(client: str) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, client) + socket.inet_pton(socket.AF_INET6, "::1")
    return ends + struct.pack("!HH", 40000, 443)


def tcp6(client: str) -> bytes:
    return f"PROXY TCP6 {client} ::1 40000 443\r\n".encode()


class TestProxyProtocol:
    @pytest.fixture
    def edge(self, start, upstream):
        return start(upstream, configuration("proxy-protocol"), variant_name="proxy-protocol")

    @pytest.mark.parametrize("version", ["V1", "V2"])
    def test_behind_a_load_balancer_its_client_counts(self, version, edge, upstream):
        with balancer.over_tcp(edge, version) as front:
            tls = edge.authority.context()
            forged = ("x-forwarded-for", "192.0.2.1")
            for path, source, status in [
                ("/here", HERE, 200),
                ("/here", "127.0.0.4", 403),
                ("/test-net", HERE, 403),
                ("/any", "127.0.0.4", 200),
            ]:
                sent = [*default(SECRET, BODY), forged, ("x-real-ip", "192.0.2.1")]
                answer = post(front.port, path, sent, BODY, source=source, tls=tls)
                assert answer.status == status, (path, source)
        assert upstream.requests[-1].all("x-real-ip") == ["127.0.0.4"]

    @pytest.mark.parametrize("version", [1, 2])
    def test_addresses_of_ipv6(self, version, edge, upstream):
        for address, status in [("2001:db8::1", 200), ("2001:db9::1", 403)]:
            first = tcp6(address) if version == 1 else header_2(PROXY, tcp6_addresses(address))
            assert deliver(edge, "/test-net", first=first) == status
        assert upstream.requests[-1].all("x-real-ip") == ["2001:db8::1"]
        logged = until(edge.access_lines)[0]
        assert (logged["client"], logged["peer"]) == ("2001:db8::1", "127.0.0.1")

    @pytest.mark.parametrize("first", [b"", b"PROXY TCP4 nonsense\r\n", b"PROXY TCP4 192.0.2.1", SIGNATURE])
    def test_without_a_header_there_is_no_answer(self, first, edge, upstream):
        with upstream.nothing():
            assert_silent(edge, first=first, source=HERE)

    def test_a_header_has_to_end(self, start, upstream):
        def hurry(document):
            assert document.listener["listener_filters_timeout"] == "5s"
            document.listener["listener_filters_timeout"] = "0.5s"

        edge = start(upstream, variant_name="proxy-protocol", patch=hurry)
        for first in (b"", b"PROXY TCP4 192.0.2.1"):
            with connect(edge.port, TIMEOUT, first=first) as connection:
                # A reset, where Envoy leaves bytes unread.
                with contextlib.suppress(ConnectionResetError):
                    assert connection.recv(100) == b""

    @pytest.mark.parametrize("version", [1, 2])
    def test_a_header_without_an_address_leaves_the_load_balancers_own(self, version, edge):
        first = b"PROXY UNKNOWN\r\n" if version == 1 else header_2(LOCAL)
        assert deliver(edge, "/test-net", first=first, source=HERE) == 403
        assert deliver(edge, "/here", first=first, source=HERE) == 200

    def test_only_the_load_balancer_can_connect(self, start, upstream):
        patch = only_from(HERE)
        edge = start(upstream, configuration("proxy-protocol"), variant_name="proxy-protocol", patch=patch)
        first = b"PROXY TCP4 192.0.2.1 127.0.0.1 40000 443\r\n"
        with upstream.nothing():
            assert_silent(edge, first=first)
        assert deliver(edge, "/test-net", first=first, source=HERE) == 200


class TestClientCertificates:
    @pytest.fixture
    def senders(self) -> Authority:
        """The authority of the senders' certificates."""
        return Authority()

    @pytest.fixture
    def edge(self, start, upstream, senders, tmp_path):
        senders.write(tmp_path, "sender.example.com", prefix="sender")
        senders.write(tmp_path, "other.example.com", prefix="other")

        def trust(document):
            context = document.listener["filter_chains"][0]["transport_socket"]["typed_config"]
            assert context["require_client_certificate"] is True
            validation = context["common_tls_context"]["validation_context"]
            validation["trusted_ca"] = {"filename": str(tmp_path / "ca.crt")}

        return start(upstream, variant_name="client-certificates", patch=trust)

    def status(self, edge, certificate=None) -> int:
        tls = edge.authority.context(certificate=certificate)
        return post(edge.port, "/webhook", default(SECRET, BODY), BODY, tls=tls).status

    def test_the_right_one_and_the_signature_are_both_needed(self, edge, tmp_path):
        assert self.status(edge, tmp_path / "sender") == 200
        tls = edge.authority.context(certificate=tmp_path / "sender")
        assert post(edge.port, "/webhook", [], BODY, tls=tls).status == 401

    @pytest.mark.parametrize("which", ["none", "of another name", "of another authority", "self-signed"])
    def test_any_other_is_refused(self, which, edge, upstream, tmp_path):
        untrusted = Authority()
        untrusted.write(tmp_path / "untrusted", "sender.example.com")
        write_self_signed(tmp_path / "alone", "sender.example.com")
        certificate = {
            "none": None,
            "of another name": tmp_path / "other",
            "of another authority": tmp_path / "untrusted" / "tls",
            "self-signed": tmp_path / "alone" / "tls",
        }[which]
        with upstream.nothing(), pytest.raises((OSError, Closed)):
            self.status(edge, certificate)


class TestHttpsUpstream:
    @pytest.fixture
    def applications(self) -> Authority:
        """The authority of the application's certificate."""
        return Authority()

    def edge(self, start, upstream, authority: Authority, folder, patch=None):
        authority.write(folder, "unused")

        def trust(document):
            context = self.common(document)
            context["validation_context"]["trusted_ca"] = {"filename": str(folder / "ca.crt")}
            if patch:
                patch(document)

        return start(upstream, variant_name="https-upstream", patch=trust)

    def common(self, document) -> dict:
        return document.cluster["transport_socket"]["typed_config"]["common_tls_context"]

    def unchecked(self, document) -> None:
        """Otherwise only the health check sees the failure, or a busy machine's handshake times out first."""
        del document.cluster["health_checks"]
        document.cluster["connect_timeout"] = "10s"

    def test_an_application_with_the_right_certificate_gets_deliveries(self, start, applications, tmp_path):
        asked = []
        tls = applications.server(tmp_path / "app", "app.example.com")
        tls.sni_callback = lambda _connection, name, _context: asked.append(name)
        with Upstream(tls=tls) as upstream:
            edge = self.edge(start, upstream, applications, tmp_path / "ca")
            # On a busy machine the first handshakes can exceed the connect timeout of 1 s.
            numbers = itertools.count()
            until(lambda: edge.deliver(b"%d" % next(numbers)).status == 200, what="a delivery")
            assert upstream.requests[-1].body == b"%d" % (next(numbers) - 1)
        assert set(asked) == {"app.example.com"}

    @pytest.mark.parametrize("which", ["another name", "another authority", "self-signed"])
    def test_any_other_gets_nothing(self, which, start, applications, tmp_path):
        folder = tmp_path / "app"
        if which == "another name":
            applications.write(folder, "other.example.com")
        elif which == "another authority":
            Authority().write(folder, "app.example.com")
        else:
            write_self_signed(folder, "app.example.com")
        with Upstream(tls=server(folder)) as upstream:
            edge = self.edge(start, upstream, applications, tmp_path / "ca", self.unchecked)
            self.assert_unavailable(edge, upstream)
            failed = f"cluster.upstream.ssl.fail_verify_{'san' if which == 'another name' else 'error'}"
            until(lambda: edge.stats("cluster.upstream.ssl")[failed], what="the reason to be counted")

    # The test offers deprecated versions, and they must be refused.
    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
    @pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_1"])
    def test_one_that_speaks_an_old_version_gets_nothing(self, version, start, applications, tmp_path):
        """Even with a suite that it knows: Envoy's own are for TLS 1.2."""

        def patch(document):
            self.unchecked(document)
            self.common(document)["tls_params"]["cipher_suites"] = ["ECDHE-ECDSA-AES128-SHA"]

        tls = applications.server(tmp_path / "app", "app.example.com")
        tls.minimum_version, tls.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion[version]
        with Upstream(tls=tls) as upstream:
            edge = self.edge(start, upstream, applications, tmp_path / "ca", patch)
            if version == "TLSv1_2":
                assert edge.deliver().status == 200
            else:
                self.assert_unavailable(edge, upstream)

    def assert_unavailable(self, edge, upstream) -> None:
        """Envoy connected, and sent nothing after it had seen the certificate."""
        answer = edge.deliver()
        assert (answer.status, answer.body) == (503, b"Unavailable\n")
        assert "UF" in until(edge.access_lines)[0]["flags"]
        assert upstream.size() == 0

    def test_a_health_check_verifies_the_certificate(self, start, applications, tmp_path):
        """A host of another name is left alone, without a request."""
        with Upstream(tls=applications.server(tmp_path / "app", "other.example.com")) as upstream:
            edge = self.edge(start, upstream, applications, tmp_path / "ca")
            assert edge.deliver().status == 503
            assert until(edge.access_lines)[0]["flags"] == "UH"

    def test_one_that_speaks_plain_text_gets_nothing(self, start, applications, upstream, tmp_path):
        edge = self.edge(start, upstream, applications, tmp_path / "ca")
        assert edge.deliver().status == 503
        assert b"POST" not in b"".join(each.bytes for each in upstream.connections)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv4_over_a_socket_of_ipv6(start, upstream):
    """Each client of IPv4 is one of its own there too, not all of them one network of IPv6."""

    def listen(document):
        document.listener["address"]["socket_address"].update(address="::ffff:127.0.0.1", ipv4_compat=True)

    edge = start(upstream, {"endpoints": [endpoint("orders", path="/webhook", allow=[HERE])]}, patch=listen)
    assert edge.deliver(source=HERE).status == 200
    assert edge.deliver(source="127.0.0.4").status == 403
    assert upstream.requests[0].all("x-real-ip") == [HERE]
    statuses = [edge.deliver(source=HERE).status for _ in range(640)]
    assert 429 in statuses
    assert edge.deliver(source="127.0.0.4").status == 403


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6(start, upstream):
    """As the first change in edge.yaml has it, but on the loopback interface."""

    def listen(document):
        document.listener["address"]["socket_address"].update(address="::1", ipv4_compat=False)

    here = endpoint("orders", path="/webhook", allow=["::1/128"])
    edge = start(upstream, {"endpoints": [here]}, patch=listen)
    assert edge.deliver(source="::1").status == 200
    assert upstream.requests[0].all("x-real-ip") == ["::1"]
    assert until(edge.access_lines)[0]["client"] == "::1"
