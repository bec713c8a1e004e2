"""Slack's own receiver and the guard in a real Envoy answer the same handshakes alike."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import client, sign
from harness.envoy import ROOT, Envoy
from harness.upstream import Upstream

# Where `make test-sdks` installs the packages.
PACKAGES = ROOT / ".tools" / "node-sdks"
SECRET = "the signing secret of an app at Slack"
FORM = ("content-type", "application/x-www-form-urlencoded")
JSON = ("content-type", "application/json")
CHECK = b"token=abc&ssl_check=1"
QUESTION = json.dumps({"token": "abc", "challenge": "3eZbrw1a", "type": "url_verification"}).encode()
COMMAND = b"token=abc&command=%2Fdeploy&text=x"

# Headers, body, and the status and body of both answers. Bolt answers the question in JSON, the guard in plain text:
# Slack takes either.
REQUESTS = {
    "an unsigned check": ([FORM], CHECK, 200, (b"", b"")),
    "a signed check": ([FORM, *sign.slack(SECRET, CHECK)], CHECK, 200, (b"", b"")),
    "a signed question": (
        [JSON, *sign.slack(SECRET, QUESTION)],
        QUESTION,
        200,
        (b'{"challenge":"3eZbrw1a"}', b"3eZbrw1a"),
    ),
    "an unsigned question": ([JSON], QUESTION, 401, (b"", b"Invalid signature")),
    "a forged question": ([JSON, *sign.slack("another", QUESTION)], QUESTION, 401, (b"", b"Invalid signature")),
    "an unsigned command": ([FORM], COMMAND, 401, (b"", b"Invalid signature")),
    "a check that is 0": ([FORM], b"ssl_check=0", 401, (b"", b"Invalid signature")),
    "a check in JSON": ([JSON], b'{"ssl_check":"1"}', 401, (b"", b"Invalid signature")),
}


@pytest.fixture(scope="module")
def envoy():
    endpoint = {
        "name": "slack",
        "match": {"path": "/slack"},
        "provider": "slack",
        "answer_challenges": True,
        "secrets": [{"version": "v1", "value": SECRET}],
    }
    with Upstream() as upstream:
        with Envoy(upstream.port, {"environment": "test", "endpoints": [endpoint]}) as running:
            with upstream.nothing():
                yield running


@pytest.fixture(scope="module")
def bolt():
    """The port of Slack's own receiver."""
    program = (Path(__file__).parent / "bolt.mjs").read_text()
    command = [shutil.which("node"), "--input-type=module", "--eval", program, "--", SECRET]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=PACKAGES, text=True, **pipes) as running:
        ready, _, _ = select.select([running.stdout], [], [], 60)
        assert ready, "Slack's receiver does not start"
        yield int(running.stdout.readline())
        running.stdin.close()


@pytest.mark.parametrize("case", REQUESTS)
def test_slacks_receiver_and_the_guard_agree(case, envoy, bolt):
    headers, body, status, (of_bolt, of_guard) = REQUESTS[case]
    theirs = client.post(bolt, "/slack", headers, body)
    ours = client.post(envoy.port, "/slack", headers, body)
    assert (theirs.status, theirs.body) == (status, of_bolt)
    assert (ours.status, ours.body) == (status, of_guard)
