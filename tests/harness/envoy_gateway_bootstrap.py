"""The statistics in the bootstrap that Envoy Gateway writes for the shipped Gateway."""

from __future__ import annotations

import re

import yaml

from harness.envoy import ROOT
from harness.tools import file

# The names of statistics that Envoy Gateway gives to the shipped route's cluster and to the listener.
CLUSTER, LISTENER = "httproute/webhooks/app/rule/0", "http-10080"
GATEWAY = ROOT / "envoy" / "envoy-gateway" / "gateway.yaml"


def stats_config() -> dict:
    """`stats_config` of Envoy Gateway's template, with the patches of gateway.yaml."""
    template = file("envoy-gateway-bootstrap", "bootstrap.yaml.tpl").read_text()
    (text,) = re.findall(r"^stats_config:\n.*?(?=^\{\{)", template, re.MULTILINE | re.DOTALL)
    found = yaml.safe_load(text)
    (proxy,) = [each for each in yaml.safe_load_all(GATEWAY.read_text()) if each["kind"] == "EnvoyProxy"]
    for patch in proxy["spec"]["bootstrap"]["jsonPatches"]:
        _, block, field, *item = patch["path"].split("/")
        if block != "stats_config":
            continue
        assert patch["op"] == "add"
        if item:
            found["stats_config"][field].append(patch["value"])
        else:
            found["stats_config"][field] = patch["value"]
    return found["stats_config"]
