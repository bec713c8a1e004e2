"""The commands of envoy/README.md that check an installation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from harness.envoy import ROOT, SECRET
from harness.polling import until


def commands(edge) -> str:
    """The block of code below the heading, with the ports of this Envoy."""
    _, _, below = (ROOT / "envoy" / "README.md").read_text().partition("\n## Check it\n")
    block = re.search(r"^```sh\n(.*?)^```$", below, re.MULTILINE | re.DOTALL)[1]
    return block.replace(":8443 ", f":{edge.port} ").replace(":9901\n", f":{edge.admin}\n")


def answers(edge) -> list:
    secret = {**os.environ, "WEBHOOK_SECRET": SECRET}
    done = subprocess.run(["sh", "-ec", commands(edge)], env=secret, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0
    return done.stdout.splitlines()


@pytest.fixture(autouse=True)
def _programs():
    for program in ("curl", "openssl"):
        assert shutil.which(program), f"install {program}: the page's commands need it"


def said(edge) -> list:
    """The statuses that the page announces."""
    return re.findall(r"^status .* # (\d{3}): ", commands(edge), re.MULTILINE)


def test_a_complete_installation_answers_as_the_page_says(edge):
    found = answers(edge)
    assert found[:5] == said(edge) == ["401", "401", "200", "404", "200"]
    assert "http.webhooks.rbac.allowed: 1" in found
    assert "http.webhooks.rbac.denied: 0" in found
    refusals = [line for line in found if re.search("update_rejected|config_fail", line)]
    assert refusals and all(line.endswith(": 0") for line in refusals)


def test_without_the_guard_all_are_answered_403(start, upstream):
    edge = start(upstream, patch=lambda document: document.remove_filters("webhook_guard"))
    found = answers(edge)
    assert found[:5] == ["403"] * 5
    assert "http.webhooks.rbac.denied: 5" in found


def test_without_guard_and_gate_the_check_shows_it(start, upstream):
    edge = start(upstream, patch=lambda document: document.remove_filters("webhook_guard", "gate"))
    found = answers(edge)
    assert found[0] == "200"
    assert not [line for line in found if "rbac" in line]


def test_without_the_flag_only_signed_requests_fail(start, upstream):
    edge = start(upstream, patch=lambda document: document.guard.pop("allow_on_headers_stop_iteration"))
    assert answers(edge)[:3] == ["401", "503", "503"]
    until(lambda: edge.count("orders", "denied", "body_unavailable"), what="the count")
