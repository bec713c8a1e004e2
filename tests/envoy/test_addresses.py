"""Client addresses: a client cannot pass an allow list by a header that it writes."""

from __future__ import annotations

import pytest

from harness import client
from harness.envoy import Envoy
from harness.full_config import endpoint, signed
from harness.verdict import verdict

BODY = b'{"order": 42}'
HERE = ["127.0.0.0/8"]
INSIDE = ["10.0.0.0/8"]
PROXIED = ["192.0.2.0/24"]
PEER = {"filter_state": "webhook_guard.peer"}
CONFIGURATION = {
    "endpoints": [
        endpoint("direct-here", allow=HERE),
        endpoint("direct-inside", allow=INSIDE),
        endpoint("direct-any"),
        endpoint("forwarded-here", allow=HERE, client_address="forwarded"),
        endpoint("forwarded-inside", allow=INSIDE, client_address="forwarded"),
        endpoint("peer-here", allow=HERE, client_address=PEER),
        endpoint("peer-inside", allow=[*INSIDE, *PROXIED], client_address=PEER),
        endpoint("proxied", allow=PROXIED, client_address="proxy_protocol"),
        endpoint("proxied-here", allow=HERE, client_address="proxy_protocol"),
    ]
}
UNTRUSTED = "client_address_untrusted"
DENIED = "client_address_denied"


def unset(document):
    """The connection manager as it is by default: the address is the last of X-Forwarded-For."""
    del document.manager["use_remote_address"]


def use_remote_address(document):
    """As shipped: the address is the peer's."""
    assert document.manager["use_remote_address"] is True


def hops(document):
    """Behind one trusted proxy."""
    document.manager["xff_num_trusted_hops"] = 1


def hops_unset(document):
    unset(document)
    hops(document)


def custom_header(document):
    """The address from a header that a proxy sets."""
    unset(document)
    extension = "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig"
    document.manager["original_ip_detection_extensions"] = [
        {
            "name": "envoy.http.original_ip_detection.custom_header",
            "typed_config": {"@type": f"type.googleapis.com/{extension}", "header_name": "x-real-ip"},
        }
    ]


def proxy_protocol(document):
    kind = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
    typed = {"@type": f"type.googleapis.com/{kind}", "allow_requests_without_proxy_protocol": True}
    document.listener["listener_filters"] = [
        {"name": "envoy.filters.listener.proxy_protocol", "typed_config": typed}
    ]


def check(envoy, upstream, name: str, reason: str, headers=(), first: bytes = b"") -> dict:
    """One signed request to an endpoint; returns the guard's log line about it."""
    outcome = "accepted" if reason == "accepted" else "denied"
    before = len(upstream.requests)
    with verdict(envoy, name, outcome, reason) as seen:
        response = client.ask(envoy.port, first + client.request(f"/{name}", [*headers, *signed(BODY)], BODY))
    assert response.status == (200 if outcome == "accepted" else 403)
    assert len(upstream.requests) - before == (1 if outcome == "accepted" else 0)
    return seen["line"]


def xff(*values: str) -> list:
    return [("x-forwarded-for", value) for value in values]


FORGERIES = [xff("10.1.2.3"), xff("203.0.113.9, 10.1.2.3"), xff("10.1.2.3", "10.1.2.4")]


class TestAllowList:
    """In the shipped configuration, where the address is the peer's."""

    def test_it_admits_and_denies(self, envoy):
        for name, status in (("local", 200), ("elsewhere", 403), ("peer", 200)):
            assert client.post(envoy.port, f"/{name}", signed(BODY), BODY).status == status

    def test_the_address_counts_before_the_body(self, envoy):
        """The guard answers before the body arrives."""
        with client.Client(envoy.port) as connection:
            connection.send(client.head("/elsewhere", [("content-length", "1000"), *signed(BODY)]))
            assert connection.response().status == 403


class TestForgedForwardedFor:
    """The address in X-Forwarded-For, for each setting of the connection manager."""

    @pytest.mark.parametrize("patch", [unset, use_remote_address, hops_unset, hops])
    def test_it_never_passes_a_list_of_direct_addresses(self, patch, start, upstream):
        envoy = start(upstream, CONFIGURATION, patch=patch)
        others = ["10.1.2.3, 10.1.2.3", "10.1.2.3:4711", "[::ffff:10.1.2.3]:80"]
        for forged in [*FORGERIES, *map(xff, others)]:
            request = client.request("/direct-inside", [*forged, *signed(BODY)], BODY)
            with upstream.nothing():
                assert client.ask(envoy.port, request).status == 403
            check(envoy, upstream, "peer-inside", DENIED, forged)
            check(envoy, upstream, "peer-here", "accepted", forged)

    def test_by_default(self, start, upstream):
        envoy = start(upstream, CONFIGURATION, patch=unset)
        check(envoy, upstream, "direct-here", "accepted")
        for forged in FORGERIES:
            check(envoy, upstream, "direct-inside", UNTRUSTED, forged)
            check(envoy, upstream, "direct-here", UNTRUSTED, forged)
            line = check(envoy, upstream, "direct-any", "accepted", forged)
            assert line["client_untrusted"] is True
        assert "client_untrusted" not in check(envoy, upstream, "direct-any", "accepted")

    def test_with_use_remote_address(self, start, upstream):
        envoy = start(upstream, CONFIGURATION)
        for forged in FORGERIES:
            check(envoy, upstream, "direct-inside", DENIED, forged)
            line = check(envoy, upstream, "direct-here", "accepted", forged)
            assert line["client"] == "127.0.0.1"
            check(envoy, upstream, "forwarded-inside", UNTRUSTED, forged)

    def test_with_a_header_that_the_operator_chose(self, start, upstream):
        envoy = start(upstream, CONFIGURATION, patch=custom_header)
        forged = [("x-real-ip", "10.1.2.3")]
        check(envoy, upstream, "direct-inside", UNTRUSTED, forged)
        check(envoy, upstream, "forwarded-inside", "accepted", forged)
        check(envoy, upstream, "forwarded-here", UNTRUSTED)


class TestForwarded:
    """Behind one trusted proxy, which adds the address it saw."""

    @pytest.fixture(scope="class")
    def proxied(self, upstream):
        with Envoy(upstream.port, CONFIGURATION, patch=hops) as running:
            yield running

    def test_the_address_that_the_proxy_added_counts(self, proxied, upstream):
        line = check(proxied, upstream, "forwarded-inside", "accepted", xff("10.1.2.3"))
        assert line["client"] == "10.1.2.3"
        check(proxied, upstream, "forwarded-inside", "accepted", xff("203.0.113.9, 10.1.2.3"))

    def test_earlier_addresses_in_the_header_do_not_count(self, proxied, upstream):
        for forged in ("10.1.2.3, 203.0.113.9", "10.1.2.3,10.1.2.4, 203.0.113.9"):
            line = check(proxied, upstream, "forwarded-inside", DENIED, xff(forged))
            assert line["client"] == "203.0.113.9"

    def test_a_client_that_bypasses_the_proxy_can_name_any_address(self, proxied, upstream):
        """Port 0 shows that a header named the address, but not its author. The guard warns, edge-forwarded.patch prevents it."""
        check(proxied, upstream, "forwarded-inside", "accepted", xff("10.1.2.3"))
        assert "can claim any address: limit the listener to the proxy" in proxied.log()

    def test_an_address_with_a_port_is_not_trusted(self, proxied, upstream):
        for forged in ("10.1.2.3:8080", "[2001:db8::5]:443"):
            check(proxied, upstream, "forwarded-inside", UNTRUSTED, xff(forged))

    @pytest.mark.parametrize("forged", [[], xff("nonsense"), xff(""), xff("10.1.2.3, x")])
    def test_a_client_that_bypasses_the_proxy_is_not_trusted(self, forged, proxied, upstream):
        """Envoy falls back to the peer's address, which may be on the list."""
        check(proxied, upstream, "forwarded-here", UNTRUSTED, forged)


class TestProxyProtocol:
    """The listener reads the client's address from the first line of the connection."""

    @pytest.fixture(scope="class")
    def proxied(self, upstream):
        with Envoy(upstream.port, CONFIGURATION, patch=proxy_protocol) as running:
            yield running

    LINE = b"PROXY TCP4 192.0.2.55 127.0.0.1 5555 10000\r\n"
    MAPPED = b"PROXY TCP6 ::ffff:192.0.2.55 ::1 5555 10000\r\n"

    def test_the_named_address_counts(self, proxied, upstream):
        for first in (self.LINE, self.MAPPED):
            line = check(proxied, upstream, "proxied", "accepted", first=first)
            assert line["client"] == "192.0.2.55"
        check(proxied, upstream, "proxied-here", DENIED, first=self.LINE)
        check(proxied, upstream, "proxied", DENIED)

    def test_a_forwarded_one_does_not(self, proxied, upstream):
        check(proxied, upstream, "proxied", DENIED, xff("192.0.2.55"))
        other = b"PROXY TCP4 203.0.113.9 127.0.0.1 5555 10000\r\n"
        check(proxied, upstream, "proxied", DENIED, xff("192.0.2.55"), first=other)

    def test_the_socket_s_peer_is_still_known(self, proxied, upstream):
        check(proxied, upstream, "peer-here", "accepted", first=self.LINE)
        check(proxied, upstream, "peer-inside", DENIED, first=self.LINE)
