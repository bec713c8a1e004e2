"""What the README shows, tried as it stands there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import yaml
from harness import client
from harness.envoy import ROOT, Document
from rich import signed

README = (ROOT / "README.md").read_text()
BODY = b'{"order": 42}'
DEMO_SECRET = "dev-only-webhook-secret"


def blocks(language: str) -> list:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_smallest_configuration_is_the_shipped_one():
    assert yaml.safe_load(blocks("yaml")[0]) == Document().guard["configuration"]["value"]


def test_its_requests_are_answered_as_shown(start, upstream):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    envoy = start(upstream, env={"WEBHOOK_SECRET": DEMO_SECRET, "ENVIRONMENT": "development"})
    for shown, status in zip(blocks("console"), ("401", "200")):
        command, answer = re.fullmatch(r"\$ (curl .*')\n(.*)\n", shown, re.DOTALL).groups()
        command = command.replace(":10000/", f":{envoy.port}/") + " -s -w '%{http_code}'"
        done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, timeout=20)
        assert done.stdout.endswith(status), shown
        # What an accepted request is answered comes from the upstream of `make run`.
        if status == "401":
            assert done.stdout == answer + status
        else:
            assert answer == "The upstream got it."


@pytest.mark.parametrize("as_text", [False, True])
def test_its_long_configuration_is_accepted(as_text, start, upstream):
    names = ["GITHUB_SECRET", "GITHUB_SECRET_OLD", "GITHUB_SECRET_LEAKED", "ACME_SECRET"]
    env = {name: f"a secret for {name.lower()}" for name in names}
    envoy = start(upstream, yaml.safe_load(blocks("yaml")[1]), env=env, as_text=as_text)
    assert client.post(envoy.port, "/elsewhere", signed(BODY), BODY).status == 404
    assert client.post(envoy.port, "/hooks/acme/x", [], BODY).status == 200, "it is monitored"


def test_its_line_of_the_log_has_the_fields_of_a_real_one(start, upstream):
    envoy = start(upstream)
    client.post(envoy.port, "/webhook", [], BODY)
    real = envoy.guard_lines()[-1]
    shown = json.loads(blocks("json")[0])
    assert {**shown, "duration_ms": 0} == {**without_level(real), "duration_ms": 0}


def without_level(line: dict) -> dict:
    return {key: value for key, value in line.items() if key != "level"}
