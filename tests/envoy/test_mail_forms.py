"""Mail in multipart forms: attachments of any kind, and parts that some application could read as a signed field."""

from __future__ import annotations

import pytest

from harness.client import Client, request
from harness.multipart import ATTACHMENTS, ATTACKS, NAME, SIGNATURE, TYPE, form, part, signed_fields

SECRET = "the secret of an inbox"
MAIL = {
    "name": "mail",
    "match": {"path": "/mail"},
    "signature": SIGNATURE,
    "secrets": [{"version": "v1", "env": "MAIL_SECRET"}],
}


@pytest.fixture(scope="module")
def connection(start_module, upstream):
    envoy = start_module(upstream, {"endpoints": [MAIL]}, env={"MAIL_SECRET": SECRET})
    with Client(envoy.port) as client:
        yield client


def status(connection, body: bytes, kind=TYPE) -> int:
    return connection.ask(request("/mail", [kind], body)).status


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", ATTACHMENTS)
def test_an_attachment_does_not_matter(name, after, connection, upstream):
    body = form(signed_fields(SECRET), part(*ATTACHMENTS[name]), after=after)
    assert status(connection, body) == 200
    assert upstream.requests[-1].body == body


def test_many_attachments_at_once(connection):
    parts = [part(*each) for name, each in ATTACHMENTS.items() if "nested" not in name]
    assert status(connection, form(signed_fields(SECRET), *parts)) == 200


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", ATTACKS)
def test_a_part_that_could_be_a_signed_field_is_rejected(name, after, connection):
    assert status(connection, form(signed_fields(SECRET), part(*ATTACKS[name]), after=after)) == 401


def test_the_heads_of_attachments_have_32_kib(connection):
    for more, expected in ((31 * 1024, 200), (32 * 1024, 401)):
        heads = (NAME + b"\r\nX-Long: " + b"x" * (more // 4) for _ in range(4))
        body = form(signed_fields(SECRET), *(part(head, b"text") for head in heads))
        assert status(connection, body) == expected, more


def test_blank_lines_around_the_parts_do_not_matter(connection):
    for before, after in ((b"", b"\r\n"), (b"\r\n", b"")):
        assert status(connection, before + form(signed_fields(SECRET)) + after) == 200
    for before, after in ((b"x\r\n", b""), (b"", b"x"), (b" ", b"")):
        assert status(connection, before + form(signed_fields(SECRET)) + after) == 401


def test_a_charset_next_to_the_boundary_does_not_matter(connection):
    for kind in (f"{TYPE[1]}; charset=UTF-8", TYPE[1].replace(";", ";charset=utf-8;")):
        assert status(connection, form(signed_fields(SECRET)), ("content-type", kind)) == 200
    other = ("content-type", f"{TYPE[1]}; charset=utf-16")
    assert status(connection, form(signed_fields(SECRET)), other) == 401
