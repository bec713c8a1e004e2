"""The image of a release as a volume. The API server is real, and the tests pull the image in the place of the kubelet."""

from __future__ import annotations

import pytest

from harness.client import post
from harness.envoy import MODULE
from harness.istio import Installation, Proxy
from harness.plain_registry import PlainRegistry
from harness.polling import until
from harness.ports import free_ports

NONE = "0" * 64


@pytest.fixture
def registry(tmp_path):
    with PlainRegistry("127.0.0.1", *free_ports(1), tmp_path) as registry:
        yield registry


def test_a_gateway_runs_the_module_of_an_image_volume(istiod, tmp_path, registry):
    digest = registry.push(MODULE.read_bytes(), "0.1.0")
    installed = Installation(istiod, tmp_path, "gateway-example.yaml", "gateway.yaml", patches=["image-volume"])
    for each in installed.applied:
        if each["kind"] == "Deployment":
            (volume,) = [one for one in each["spec"]["template"]["spec"]["volumes"] if "image" in one]
            assert volume["image"]["reference"] == f"registry.example.com/webhook-guard@sha256:{NONE}"
            volume["image"]["reference"] = f"{registry.host}/webhook-guard@sha256:{digest}"
    installed.applied = [each for each in installed.applied if each["kind"] != "ConfigMap"]
    with installed, Proxy(istiod, "webhook-gateway", installed.port) as proxy:
        until(lambda: proxy.signed_status() == 200, what="an answer to a signed request")
        assert post(proxy.port, "/webhook", [], b"{}").status == 401
