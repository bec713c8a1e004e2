"""Tries the examples of the pages, and compares their figures with the shipped files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import yaml

from harness import client
from harness.command import BINARY
from harness.edge import EDGE
from harness.envoy import ROOT, Document
from harness.full_config import endpoint, signed
from harness.polling import until

README = "README.md"
PRODUCTION = "envoy/README.md"
REFERENCE = "envoy/configuration.md"
SCHEME = "src/scheme/README.md"
PRESETS = "src/providers/README.md"
MONITORING = "envoy/monitoring/README.md"
BODY = b'{"order": 42}'
DEMO_SECRET = "dev-only-webhook-secret"


def page(path: str) -> str:
    return (ROOT / path).read_text()


def blocks(language: str, path: str = README) -> list:
    """The blocks of code on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page(path), re.MULTILINE | re.DOTALL)


def run(command: str) -> str:
    return subprocess.run(["sh", "-ec", command], stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout


def test_the_smallest_configuration_is_the_shipped_one():
    """The shipped file also has the setting that belongs to its access log."""
    logs = {"log": {"accepted": "debug"}}
    assert {**yaml.safe_load(blocks("yaml")[0]), **logs} == Document().guard["configuration"]["value"]


def test_its_requests_are_answered_as_shown(start, upstream):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    envoy = start(upstream, env={"WEBHOOK_SECRET": DEMO_SECRET, "ENVIRONMENT": "development"})
    (console,) = blocks("console")
    shown = re.findall(r"^\$ (curl .*?')\n([^$' ].*?)\n", console, re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    for (command, answer), status in zip(shown, ("401", "200")):
        command = command.replace(":10000/", f":{envoy.port}/") + " -s -w '%{http_code}'"
        done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, timeout=60)
        assert done.stdout.endswith(status), command
        # The answer to an accepted request is the one of the upstream of `make run`.
        if status == "401":
            assert done.stdout == answer + status
        else:
            assert answer == "The upstream got it."


@pytest.mark.parametrize("as_text", [False, True])
def test_the_long_configuration_is_accepted(as_text, start, upstream):
    names = ["GITHUB_SECRET", "GITHUB_SECRET_OLD", "GITHUB_SECRET_LEAKED", "ACME_SECRET"]
    env = {name: f"a secret for {name.lower()}" for name in names}
    envoy = start(upstream, yaml.safe_load(blocks("yaml", REFERENCE)[0]), env=env, as_text=as_text)
    assert client.post(envoy.port, "/elsewhere", signed(BODY), BODY).status == 404
    assert client.post(envoy.port, "/hooks/acme/x", [], BODY).status == 200, "it is monitored"


def test_the_example_of_a_scheme_is_accepted(start, upstream):
    scheme = yaml.safe_load(blocks("yaml", SCHEME)[0])
    configuration = {"endpoints": [endpoint("acme", **scheme)]}
    envoy = start(upstream, configuration)
    assert client.post(envoy.port, "/acme", signed(BODY), BODY).status == 401


def test_the_example_of_a_preset_is_accepted(start, upstream):
    configuration = yaml.safe_load(blocks("yaml", PRESETS)[0])
    envoy = start(upstream, configuration, env={"STRIPE_SECRET": "whsec_of_a_test"})
    assert client.post(envoy.port, "/hooks/stripe", signed(BODY), BODY).status == 401


def test_the_command_that_signs_and_sends_is_accepted(start, upstream):
    envoy = start(upstream, env={"WEBHOOK_SECRET": DEMO_SECRET, "ENVIRONMENT": "development"})
    sent = blocks("sh")[0].replace("target/release/webhook-guard", str(BINARY)).replace(":10000", f":{envoy.port}")
    assert "200" in run(f"cd {ROOT}\n{sent}")
    assert "401" in run(f"cd {ROOT}\n{sent.strip()} || true".replace(DEMO_SECRET, "another-secret"))


def test_the_commands_of_the_monitoring_page_show_lines_and_metrics(start, upstream):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    envoy = start(upstream)
    client.post(envoy.port, "/webhook", [], BODY)
    (log, access, metrics) = [line for line in blocks("sh", MONITORING)[0].splitlines() if not line.startswith("make ")]
    until(envoy.guard_lines, what="the line of the log")
    lines = run(log.replace("envoy.log", str(envoy.folder / "log"))).splitlines()
    assert "signature_missing" in [json.loads(line).get("reason") for line in lines]
    assert client.post(envoy.port, "/webhook", signed(BODY), BODY).status == 200
    until(lambda: len(envoy.access_lines()) == 2, what="the access log")
    found = run(access.replace("access.log", str(envoy.folder / "access"))).splitlines()
    assert [json.loads(line)["reason"] for line in found] == ["accepted"]
    assert "webhook_guard_requests" in run(metrics.replace(":9901", f":{envoy.admin}"))


def test_its_line_of_the_log_has_the_fields_of_a_real_one(start, upstream):
    envoy = start(upstream)
    client.post(envoy.port, "/webhook", [], BODY)
    real = envoy.guard_lines()[-1]
    shown = json.loads(blocks("json", MONITORING)[0])
    assert {**shown, "duration_ms": 0} == {**without_level(real), "duration_ms": 0}


def test_its_fields_of_the_access_log_are_those_of_the_shipped_files():
    def fields(file: str) -> set:
        (log,) = Document((ROOT / "envoy" / file).read_text()).manager["access_log"]
        return set(log["typed_config"]["log_format"]["json_format"])

    rows = re.findall(r"^\| (`[^|]*`) \| (?:yes|-) \| (yes|edge.yaml|-) \|", page(MONITORING), re.MULTILINE)
    everywhere = {name for names, where in rows if where == "yes" for name in re.findall("`(.*?)`", names)}
    at_the_edge = {name for names, where in rows if where == "edge.yaml" for name in re.findall("`(.*?)`", names)}
    assert fields("envoy.yaml") == fields("rotating.yaml") == everywhere
    assert fields("edge.yaml") == everywhere | at_the_edge


def without_level(line: dict) -> dict:
    return {key: value for key, value in line.items() if key != "level"}


def test_the_five_places_to_change_are_marked():
    """Each place on the page is also in edge.yaml, with the values of a demo."""
    places = re.findall(r"^# (\d): .*\n(\w+):", blocks("yaml", PRODUCTION)[0], re.MULTILINE)
    assert [number for number, _ in places] == ["1", "2", "3", "4", "5"]
    edge = EDGE.read_text().splitlines()
    for number, place in places:
        (mark,) = [at for at, line in enumerate(edge) if f"# CHANGE {number}: " in line]
        assert any(f"{place}: " in line or line.endswith(f"{place}:") for line in edge[mark : mark + 8]), place


def test_the_figures_are_those_of_edge_yaml():
    """Limits and timeouts on the page, compared with the file itself."""
    said = " ".join(page(PRODUCTION).split())
    text = EDGE.read_text()
    for figure, setting in {
        "600 requests a minute": "max_tokens: 600, tokens_per_fill: 600, fill_interval: 60s",
        "100 verified requests a minute": "max_tokens: 100, tokens_per_fill: 100, fill_interval: 60s",
        "6,000 to an endpoint": "max_tokens: 6000, tokens_per_fill: 6000, fill_interval: 60s",
        "headers within 10 s": "request_headers_timeout: 10s",
        "whole request within 30 s": "request_timeout: 30s",
        "no gap of more than 20 s": "stream_idle_timeout: 20s",
        "100 connections and 100 requests": "max_connections: 100, max_pending_requests: 100",
        "five failures in a row": "consecutive_5xx: 5",
        "left alone for 10 s": "base_ejection_time: 10s",
        "heap of 1 GiB": "max_heap_size_bytes: 1073741824",
        "one in a hundred": "percent_sampled: {numerator: 1, denominator: HUNDRED}",
        "any connection after 6,000 requests": "max_requests_per_connection: 6000",
        "60 copies of one message a minute": "max_tokens: 60, tokens_per_fill: 60, fill_interval: 60s",
        "128 MiB of them": "max_held_bytes: 134217728",
        "--concurrency 4": "--concurrency 4",
        "with 8 HTTP/2 streams": "max_concurrent_streams: 8",
        "900 connections": "max_active_downstream_connections: 900",
        "100 headers or 16 KiB": "max_request_headers_kb: 16",
        "closed after a minute": "idle_timeout: 60s",
        "any connection after ten": "max_connection_duration: 600s",
        "the heap of edge.yaml, 1 GiB": "max_heap_size_bytes: 1073741824",
    }.items():
        assert figure in said, figure
        assert setting in text, setting
