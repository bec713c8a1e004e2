"""The platforms whose Envoys Prometheus scrapes, with the metrics that each exports for the incident."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Callable

import yaml

from harness import envoy_gateway_bootstrap, istio_bootstrap
from harness.envoy import ROOT, Envoy
from harness.ports import free_ports

OVERRIDE = yaml.safe_load((ROOT / "envoy" / "istio" / "bootstrap-override.yaml").read_text())


@dataclass(frozen=True)
class Platform:
    """`config` is the Prometheus configuration, and `labels` are what it takes from Kubernetes.

    `prepare` gives an Envoy that has not started the platform's bootstrap, and sets its `scraped` port.
    """

    name: str
    config: str
    labels: dict
    prepare: Callable[[Envoy], None]


def plain(envoy: Envoy) -> None:
    """Prometheus scrapes the admin interface."""


def istio(envoy: Envoy, override: dict | None = OVERRIDE) -> None:
    found = istio_bootstrap.capture(override=override)
    added = istio_bootstrap.config_yaml(found["arguments"])
    envoy.arguments = ("--allow-unknown-static-fields", *(("--config-yaml", json.dumps(added)) if added else ()))
    bootstrap = found["bootstrap"]
    admin, envoy.scraped = free_ports(2)
    ours, theirs = envoy.document.data, bootstrap["static_resources"]
    envoy.document.cluster["alt_stat_name"] = istio_bootstrap.CLUSTER
    envoy.document.manager["stat_prefix"] = istio_bootstrap.LISTENER
    ours["admin"]["address"]["socket_address"]["port_value"] = admin
    (listener,) = [each for each in theirs["listeners"] if each["name"].endswith("15090")]
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": envoy.scraped}
    (cluster,) = [each for each in theirs["clusters"] if each["name"] == "prometheus_stats"]
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoint["endpoint"]["address"]["socket_address"]["port_value"] = admin
    ours["static_resources"]["listeners"].append(listener)
    ours["static_resources"]["clusters"].append(cluster)
    for name in ("stats_config", "deferred_stat_options", "bootstrap_extensions"):
        ours[name] = bootstrap[name]


def envoy_gateway(envoy: Envoy) -> None:
    """Prometheus scrapes the admin interface, to which the port 19001 leads too."""
    envoy.document.cluster["alt_stat_name"] = envoy_gateway_bootstrap.CLUSTER
    envoy.document.manager["stat_prefix"] = envoy_gateway_bootstrap.LISTENER
    envoy.document.data["stats_config"] = envoy_gateway_bootstrap.stats_config()
    envoy.document.data["deferred_stat_options"] = {"enable_deferred_creation_stats": True}


PLATFORMS = [
    Platform("envoy", "prometheus.yaml", {}, plain),
    Platform("istio", "prometheus-istio.yaml", {"proxy": "gateway"}, istio),
    Platform("envoy-gateway", "prometheus-envoy-gateway.yaml", {}, envoy_gateway),
]
