"""Prometheus' own tools about envoy/monitoring: what it accepts, and when which alert fires."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from prometheus import FOLDER, RULES, tool

from harness.envoy import ROOT

NAMES = {rule["alert"] for rule in RULES}


def promtool(*arguments: str) -> str:
    done = subprocess.run([tool("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_configuration():
    assert "1 rule files found" in promtool("check", "config", "prometheus.yaml")
    assert f"{len(RULES)} rules found" in promtool("check", "rules", "alerts.yaml")


def test_it_scrapes_where_envoy_tells():
    (job,) = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    (targets,) = job["static_configs"]
    address = yaml.safe_load((ROOT / "envoy" / "edge.yaml").read_text())["admin"]["address"]["socket_address"]
    assert targets["targets"] == [f"{address['address']}:{address['port_value']}"]


def test_alerts_fire_when_they_must_and_not_when_they_must_not():
    promtool("test", "rules", "alerts_test.yaml")
    tested = (FOLDER / "alerts_test.yaml").read_text()
    assert {name for name in NAMES if f'alertname="{name}"' in tested} == NAMES


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_tells_what_to_do(rule):
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "runbook"}
