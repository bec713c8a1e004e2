"""Parsers of multipart forms and the guard in a real Envoy, asked about the same mail.

For each request that the guard accepts, no parser finds another value of a signed field. The parsers are those of
Node.js and of Python's library. tests/harness/multipart.py has the parts.
"""

from __future__ import annotations

import base64
import email
import email.policy
import email.utils
import itertools
import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.client import Client, request
from harness.envoy import ROOT, Envoy
from harness.multipart import ATTACHMENTS, ATTACKS, NAME, SIGNATURE, TYPE, form, part, signed_fields
from harness.upstream import Upstream

# Where `make test-sdks` installs the packages.
PACKAGES = ROOT / ".tools" / "node-sdks"
SECRET = "the secret of an inbox"
# Parameters after a part's name, and headers after that. Some of their combinations are another name for some parsers.
PARAMETERS = [
    '; filename="a.txt"', '; filename="x; name=token"', '; filename="x\\"; name=\\"token"', "; name=token", ';name="token"',
    "; name*=utf-8''token", '; name*0="to"; name*1="ken"', "; filename*=utf-8''x%22; name=%22token", '; NAME = "token"',
    ';\r\n name="token"', ';\r\n\tfilename="a.txt"', '; "name"=token', "; x-name=token", "; filename=token", '; x"y',
    '; filename="x\\', ";\nname=token", '; filename="x;na\tme=token"', '; filename="na', '\r\n me="token"', ": ; name=token",
]
HEADERS = [
    "", "\r\nContent-Type: text/plain; name=token", '\r\nContent-Disposition: form-data; name="token"',
    '\r\nX-A: Content-Disposition: form-data; name="token"', '\r\n Content-Disposition: form-data; name="token"',
    "\r\n; name=token", "\r\n\tname=token", "\nContent-Type: text/plain; name=token", "\r\nContent-Type: message/rfc822",
    "\r\nContent-Type: multipart/mixed; boundary=inner", "\r\nContent-Transfer-Encoding: base64", "\r\nContent-ID: token",
]
VALUES = [
    b"forged",
    b'Content-Disposition: form-data; name="token"\r\n\r\nforged',
    b'--inner\r\nContent-Disposition: form-data; name="token"\r\n\r\nforged\r\n--inner--',
    b'--inner\nContent-Disposition: form-data;\n name="token"\n\nforged\n--inner--',
]
FORGERIES = 3_000


@pytest.fixture(scope="module")
def connection():
    secret = {"version": "v1", "value": SECRET}
    endpoint = {"name": "mail", "match": {"path": "/mail"}, "signature": SIGNATURE, "secrets": [secret]}
    with Upstream() as upstream:
        with Envoy(upstream.port, {"environment": "test", "endpoints": [endpoint]}) as envoy:
            with Client(envoy.port) as client:
                yield client


@pytest.fixture(scope="module")
def read():
    """The values that each parser finds in a body, by name."""
    text = (Path(__file__).parent / "multipart_readers.mjs").read_text()
    command = [shutil.which("node"), "--input-type=module", "--eval", text]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    program = subprocess.Popen(command, cwd=PACKAGES, text=True, **pipes)

    def ask(body: bytes) -> dict:
        program.stdin.write(json.dumps({"type": TYPE[1], "body": base64.b64encode(body).decode()}) + "\n")
        program.stdin.flush()
        policies = {"email": email.policy.compat32, "email.policy.HTTP": email.policy.HTTP}
        found = {name: walked(body, policy) for name, policy in policies.items()}
        return json.loads(program.stdout.readline()) | found

    yield ask
    program.stdin.close()
    program.wait(10)


def walked(body: bytes, policy) -> dict:
    """The named parts of a body, as programs find them that read it as a mail."""
    head = f"Content-Type: {TYPE[1]}\r\n\r\n".encode()
    found = {}
    for each in email.message_from_bytes(head + body, policy=policy).walk():
        name = each.get_param("name", header="content-disposition")
        if name is not None and not each.is_multipart():
            text = (each.get_payload(decode=True) or b"").decode("latin-1")
            found.setdefault(email.utils.collapse_rfc2231_value(name), []).append(text)
    return found


def is_accepted(connection, body: bytes) -> bool:
    return connection.ask(request("/mail", [TYPE], body)).status == 200


def differing(fields: dict, found: dict) -> list:
    """The parsers that find another value of a signed field."""
    return [
        reader
        for reader, values in found.items()
        if values is not None and any(set(values.get(name, [])) - {value} for name, value in fields.items())
    ]


@pytest.mark.parametrize("name", ATTACHMENTS)
def test_no_parser_takes_an_attachment_for_a_signed_field(name, connection, read):
    for after in (False, True):
        fields = signed_fields(SECRET)
        body = form(fields, part(*ATTACHMENTS[name]), after=after)
        found = read(body)
        assert is_accepted(connection, body) and differing(fields, found) == []
        whole = [values for values in found.values() if values and fields.keys() <= values.keys()]
        assert len(whole) >= 4, "most parsers read all signed fields"


def test_parsers_take_many_of_the_rejected_parts_for_a_signed_field(connection, read):
    dangerous = set()
    for name, attack in ATTACKS.items():
        fields = signed_fields(SECRET)
        body = form(fields, part(*attack))
        assert not is_accepted(connection, body), name
        if differing(fields, read(body)):
            dangerous.add(name)
    assert len(dangerous) >= 10, dangerous


def test_every_parser_reads_an_accepted_request_alike(connection, read):
    """Parts of random parameters and headers. The seed is fixed, so that a failure can be repeated."""
    choose = random.Random(18).choice
    accepted = 0
    for _, count in zip(range(FORGERIES), itertools.cycle((0, 1, 2))):
        head = NAME.decode() + "".join(choose(PARAMETERS) for _ in range(count)) + choose(HEADERS)
        fields = signed_fields(SECRET)
        body = form(fields, part(head.encode(), choose(VALUES)), after=choose((False, True)))
        if is_accepted(connection, body):
            accepted += 1
            found = read(body)
            assert differing(fields, found) == [], (head, found)
    assert accepted >= 100
