"""The metrics of the shipped Gateway. tests/monitoring runs an incident with the same names and the same bootstrap."""

from __future__ import annotations

import json

import pytest
import yaml

from harness import version
from harness.envoy import MODULE, ROOT
from harness.envoy_gateway import NAMESPACE, PATIENCE, deployment
from harness.envoy_gateway_bootstrap import CLUSTER, LISTENER, stats_config
from harness.polling import until

(JOB,) = yaml.safe_load((ROOT / "envoy" / "monitoring" / "prometheus-envoy-gateway.yaml").read_text())["scrape_configs"]


@pytest.fixture(scope="module")
def proxy(request, installation, start):
    installation.gateway()
    request.addfinalizer(installation.remove)
    installation.guard()
    proxy = start()
    request.addfinalizer(proxy.stop)
    until(lambda: proxy.deliver() == 200, PATIENCE, "the first delivery")
    return proxy


def test_the_bootstrap_has_the_statistics_that_the_incident_has(proxy):
    (bootstrap,) = [each["bootstrap"] for each in json.loads(proxy.get("/config_dump"))["configs"] if "bootstrap" in each]
    assert bootstrap["stats_config"]["stats_tags"] == stats_config()["stats_tags"]
    assert bootstrap["stats_config"]["histogram_bucket_settings"] == stats_config()["histogram_bucket_settings"]
    assert bootstrap["deferred_stat_options"] == {"enable_deferred_creation_stats": True}


def test_the_port_for_prometheus_has_the_metrics_of_the_alerts(proxy):
    text = proxy.get(JOB["metrics_path"], port=19001)
    commit, own = version.labels(MODULE.read_bytes())
    for wanted in (
        f'webhook_guard_build_info{{commit="{commit}",version="{own}"}} 1',
        'webhook_guard_requests_total{endpoint="orders",verdict="accepted",reason="accepted"} ',
        'webhook_guard_verify_microseconds_bucket{endpoint="orders",le="25000"} ',
        f'envoy_cluster_upstream_rq_total{{envoy_cluster_name="{CLUSTER}"}} ',
        f'envoy_http_rbac_denied{{envoy_http_conn_manager_prefix="{LISTENER}"}} ',
        "envoy_wasm_webhook_guard_vm_reload_success{} ",
        "envoy_listener_manager_lds_update_rejected{} ",
    ):
        assert f"\n{wanted}" in text, wanted


def test_the_job_finds_the_pods_of_the_gateway(cluster, proxy):
    labels = deployment(cluster)["spec"]["template"]["metadata"]["labels"]
    (keep,) = [each for each in JOB["relabel_configs"] if each.get("action") == "keep"]
    wanted = [each.removeprefix("__meta_kubernetes_pod_label_") for each in keep["source_labels"]]
    found = {name.replace(".", "_").replace("-", "_").replace("/", "_"): value for name, value in labels.items()}
    assert ";".join(found[each] for each in wanted) == keep["regex"] == f"{NAMESPACE};{NAMESPACE}"
