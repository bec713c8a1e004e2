"""Details of the metrics on each platform, beyond the incident."""

from __future__ import annotations

import pytest
import yaml
from platforms import OVERRIDE, PLATFORMS, istio

from harness.client import post
from harness.envoy import ROOT, SECRET, Document, Envoy
from harness.full_config import endpoint
from harness.polling import until
from harness.prometheus import FOLDER
from harness.sign import default
from harness.upstream import Upstream

PLAIN = Document((ROOT / "envoy" / "envoy.yaml").read_text()).data["stats_config"]


def test_the_override_has_the_tags_and_buckets_of_envoy_yaml():
    ours = yaml.safe_load(OVERRIDE["data"]["custom_bootstrap.json"])["stats_config"]
    assert {name: ours[name] for name in PLAIN} == PLAIN


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_each_scrape_configuration_loads_the_same_alerts_and_names_their_job(platform):
    config = yaml.safe_load((FOLDER / platform.config).read_text())
    assert config["rule_files"] == ["alerts.yaml"]
    assert [each["job_name"] for each in config["scrape_configs"]] == ["webhook-guard"]


@pytest.mark.parametrize("name", ["shop-cache", "component", "my-component", "tag", "cache"])
def test_names_that_istio_reads_as_tags_keep_their_labels(name):
    """Istio's tags `cache` and `component` match anywhere in a name, and add a label of theirs."""
    with Upstream() as upstream:
        secret = {"version": "v1", "env": "WEBHOOK_SECRET"}
        envoy = Envoy(upstream.port, {"endpoints": [endpoint(name, secret)]})
        istio(envoy)
        with envoy:
            assert post(envoy.port, f"/{name}", default(SECRET, b"{}"), b"{}").status == 200
            lines = [line for line in envoy.prometheus().splitlines() if line.startswith("webhook_guard_requests_total{")]
    labels = f'endpoint="{name}",verdict="accepted",reason="accepted"'
    (line,) = [line for line in lines if line.endswith(" 1")]
    assert all(label in line for label in labels.split(",")), line


def test_no_metric_of_the_guard_is_evicted():
    """Istio can set this interval (`statsEvictionInterval`). A counter that is not there from the start would hide its first event."""
    with Upstream() as upstream:
        envoy = Envoy(upstream.port)
        envoy.document.data |= {"stats_eviction_interval": "1s", "stats_flush_interval": "1s"}
        with envoy:
            assert post(envoy.port, "/webhook", default(SECRET, b"{}"), b"{}").status == 200
            before = envoy.stats("wasmcustom")
            # Each flush of the statistics sets this, and evicts.
            until(lambda: envoy.stats("server.uptime")["server.uptime"] >= 6, what="several evictions")
            assert envoy.stats("wasmcustom") == before
