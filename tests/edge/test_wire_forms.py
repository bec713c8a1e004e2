"""The forms in which senders' HTTP clients write a delivery: edge.yaml accepts each, and the upstream gets what was signed."""

from __future__ import annotations

import socket
import ssl

import pytest

from harness.client import chunked, head
from harness.edge import Edge
from harness.envoy import SECRET
from harness.full_config import endpoint
from harness.sign import default
from harness.upstream import Upstream

BODY = b'{"order": 42}'
((NAME, SIGNATURE),) = default(SECRET, BODY)
LENGTH = ("content-length", str(len(BODY)))
SIGNED = [(NAME, SIGNATURE), LENGTH]
CONFIGURATION = {
    "endpoints": [
        endpoint("orders", path="/webhook", methods=["POST", "GET"]),
        endpoint("spaced", path="/a%20b"),
        {**endpoint("tenants"), "match": {"prefix": "/tenants/"}},
        {**endpoint("hosted"), "match": {"path": "/hosted", "host": "hooks.test"}},
    ]
}


def with_headers(*headers) -> bytes:
    return head("/webhook", [*SIGNED, *headers]) + BODY


def at(path: str, **more) -> bytes:
    return head(path, SIGNED, **more) + BODY


FORMS = {
    "Expect: 100-continue": with_headers(("expect", "100-continue")),
    "Expect in other letters (.NET)": with_headers(("Expect", "100-Continue")),
    "chunks": b"".join(chunked("/webhook", [(NAME, SIGNATURE)], [BODY[:5], BODY[5:]])),
    "TE: trailers": with_headers(("te", "trailers"), ("connection", "TE")),
    "TE of libwww-perl": with_headers(("te", "deflate,gzip;q=0.3"), ("connection", "TE, close")),
    "an offer of h2c (Java)": with_headers(
        ("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")
    ),
    "names in capitals": head("/webhook", [(NAME.upper(), SIGNATURE), ("CONTENT-LENGTH", LENGTH[1]), ("HOST", "hooks.test")]) + BODY,
    "names in small letters": head("/webhook", [(NAME.lower(), SIGNATURE), LENGTH]) + BODY,
    "spaces around a value": head("/webhook", [(NAME, f"  \t{SIGNATURE} \t "), LENGTH]) + BODY,
    "no space before a value": head("/webhook", SIGNED).replace(b": ", b":") + BODY,
    "GET with a body": at("/webhook", method="GET"),
    "a whole URL": at("http://hooks.test/webhook"),
    "a whole URL of https": at("https://hooks.test/webhook"),
    "a whole URL with a port": at("https://hooks.test:8443/webhook"),
    "an empty query": at("/webhook?"),
    "Host with a port": at("/hosted", host="hooks.test:8443"),
    "Host with a dot at its end": at("/hosted", host="hooks.test."),
    "Host in capitals": at("/hosted", host="HOOKS.TEST"),
    "an address as Host": at("/webhook", host="[::1]:8443"),
    "a space in the path": at("/a%20b"),
    "a slash at the end": at("/tenants/7/"),
    "letters beyond ASCII in the path": at("/tenants/%C3%A4"),
    "other signs in the path": at("/tenants/a+b@c:d,e=f~g|h"),
    "letters beyond ASCII in a value": with_headers(("x-name", "täst".encode())),
    "an empty value": with_headers(("x-name", "")),
    "a large token": with_headers(("authorization", "Bearer " + "a" * 8192)),
    "many cookies": with_headers(*[("cookie", f"name{number}=value") for number in range(50)]),
    "many headers": with_headers(*[(f"x-header-{number}", "value") for number in range(90)]),
    "Connection: Keep-Alive": with_headers(("connection", "Keep-Alive"), ("keep-alive", "timeout=5")),
    "Proxy-Connection": with_headers(("proxy-connection", "keep-alive")),
    "Content-Encoding: identity": with_headers(("content-encoding", "identity")),
    "an empty Content-Type": with_headers(("content-type", "")),
    "an underscore in another name": with_headers(("x_name", "value")),
    "empty lines before": b"\r\n" + with_headers(),
    "an empty line after (old browsers)": with_headers() + b"\r\n",
}
# Requests that Envoy or the guard refuses, with the status.
REFUSED = {
    "more than 16 KiB of headers": (with_headers(("x-long", "a" * 17_000)), 431),
    "more than 100 headers": (with_headers(*[(f"x-header-{number}", "value") for number in range(110)]), 431),
    "no Host": (with_headers().replace(b"host: hooks.test\r\n", b""), 400),
    "an encoded slash in the path": (at("/tenants/a%2Fb"), 400),
    "two slashes in the path": (at("/tenants//a"), 400),
    "a slash at the end of an endpoint's path": (at("/webhook/"), 404),
    "a bare space in the path": (at("/tenants/a b"), 400),
    "a fragment": (at("/webhook#x"), 400),
}


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def edge(upstream):
    with Edge(upstream.port, CONFIGURATION, patch=lambda document: document.remove_filters("copies")) as running:
        yield running


@pytest.mark.parametrize("form", FORMS)
def test_a_sender_may_write_a_delivery_so(form, edge, upstream):
    before = len(upstream.requests)
    with edge.client() as client:
        assert client.ask(FORMS[form]).status == 200
    assert upstream.next(before).body == BODY


@pytest.mark.parametrize("form", FORMS)
def test_no_form_makes_another_body_valid(form, edge, upstream):
    forged = FORMS[form].replace(b"42}", b"43}")
    assert forged != FORMS[form]
    with upstream.nothing(), edge.client() as client:
        assert client.ask(forged).status == 401


@pytest.mark.parametrize("form", REFUSED)
def test_what_no_setting_of_the_file_accepts(form, edge, upstream):
    sent, status = REFUSED[form]
    with upstream.nothing(), edge.client() as client:
        assert client.ask(sent).status == status


@pytest.mark.parametrize("length", [[], [("content-length", "0")]])
def test_a_delivery_without_a_body(length, edge, upstream):
    before = len(upstream.requests)
    with edge.client() as client:
        assert client.ask(head("/webhook", [*default(SECRET, b""), *length])).status == 200
    assert upstream.next(before).body == b""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_sender_may_name_neither_server_nor_protocol_in_the_handshake(version, edge, upstream):
    """Without SNI, as clients that connect by address do, and without ALPN."""
    tls = edge.authority.context()
    tls.check_hostname = False
    tls.minimum_version = tls.maximum_version = version
    before = len(upstream.requests)
    with socket.create_connection(("127.0.0.1", edge.port), timeout=60) as plain, tls.wrap_socket(plain) as connection:
        connection.sendall(with_headers())
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        assert connection.selected_alpn_protocol() is None
    assert upstream.next(before).body == BODY
