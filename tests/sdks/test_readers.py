"""Readers of forms and the guard in a real Envoy, asked about a signed field beside odd names.

Rack and PHP come from no package here: tests/core/names.rs has a table of their rules.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import shutil
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, quote

import pytest

from harness.client import Client, request
from harness.envoy import ROOT, Envoy
from harness.upstream import Upstream

# Where `make test-sdks` installs the packages.
PACKAGES = ROOT / ".tools" / "node-sdks"
SECRET = "the secret of the odd names"
NAME = "bt_payload"
FORM = ("content-type", "application/x-www-form-urlencoded")
NAMES = [
    "".join(parts)
    for parts in itertools.product(
        ["", "[", "]", "?", " ", "[[", "."],
        ["bt_payload", "bt.payload", "bt[payload", "BT_PAYLOAD", "bt payload", "btPayload", "bt-payload"],
        ["", "[", "]", "[]", "[0]", "[x]", "\0", "\0x", ".", " ", "_"],
    )
]


@pytest.fixture(scope="module")
def envoy():
    signature = {"form": "sig", "message": f"{{form:{NAME}}}", "body": "unsigned"}
    secret = {"version": "v1", "value": SECRET}
    endpoint = {"name": "forms", "match": {"path": "/forms"}, "signature": signature, "secrets": [secret]}
    with Upstream() as upstream:
        with Envoy(upstream.port, {"environment": "test", "endpoints": [endpoint]}) as running:
            yield running


@pytest.fixture(scope="module")
def readers():
    """Asks the program with the readers about a form."""
    command = [shutil.which("node"), "--input-type=module", "--eval", (Path(__file__).parent / "readers.mjs").read_text()]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    program = subprocess.Popen(command, cwd=PACKAGES, text=True, **pipes)

    def ask(form: str) -> dict:
        program.stdin.write(json.dumps({"form": form, "name": NAME}) + "\n")
        program.stdin.flush()
        (python,) = parse_qs(form, keep_blank_values=True).get(NAME, [None])[-1:]
        return {**json.loads(program.stdout.readline()), "parse_qs": python}

    yield ask
    program.stdin.close()
    program.wait(60)


def forms():
    """A signed field before and after one with an odd name."""
    code = hmac.new(SECRET.encode(), b"genuine", hashlib.sha256).hexdigest()
    genuine = f"sig={code}&{NAME}=genuine"
    yield genuine
    for name, written in itertools.product(NAMES, (quote, lambda name: name.replace(" ", "+").replace("\0", "%00"))):
        yield f"{genuine}&{written(name)}=EVIL"
        yield f"{written(name)}=EVIL&{genuine}"


def test_every_reader_reads_an_accepted_request_alike(envoy, readers):
    accepted = 0
    with Client(envoy.port) as connection:
        for form in forms():
            if connection.ask(request("/forms", [FORM], form.encode())).status == 200:
                accepted += 1
                found = readers(form)
                assert all(value == "genuine" for value in found.values()), (form, found)
    # The genuine form alone, and those whose name is another to all readers.
    assert accepted >= 1
