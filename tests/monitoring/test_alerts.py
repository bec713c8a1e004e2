"""promtool accepts envoy/monitoring, and each alert fires exactly when it must."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from harness.envoy import ROOT
from harness.prometheus import FOLDER, RULES, tool

NAMES = {rule["alert"] for rule in RULES}


def promtool(*arguments: str) -> str:
    done = subprocess.run([tool("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_configuration():
    assert "1 rule files found" in promtool("check", "config", "prometheus.yaml")
    assert f"{len(RULES)} rules found" in promtool("check", "rules", "alerts.yaml")


def test_the_scrape_target_is_the_admin_address_of_edge_yaml():
    (job,) = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    (targets,) = job["static_configs"]
    address = yaml.safe_load((ROOT / "envoy" / "edge.yaml").read_text())["admin"]["address"]["socket_address"]
    assert targets["targets"] == [f"{address['address']}:{address['port_value']}"]


def test_each_alert_fires_exactly_when_it_must():
    promtool("test", "rules", "alerts_test.yaml")
    tested = (FOLDER / "alerts_test.yaml").read_text()
    assert {name for name in NAMES if f'alertname="{name}"' in tested} == NAMES


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_has_a_severity_a_summary_and_a_runbook(rule):
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "runbook", "runbook_url"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_the_page_lists_the_alert(rule):
    assert f"\n| {rule['alert']} | {rule['labels']['severity']} | " in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_runbook_url_leads_to_a_heading(rule):
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    without_code = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
