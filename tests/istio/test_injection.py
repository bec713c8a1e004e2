"""Istio's injector completes the container istio-proxy of the examples, and keeps what the guard needs."""

from __future__ import annotations

import pytest

from harness.istio import FOLDER, NAMESPACE, Injecting
from harness.kubernetes import documents


@pytest.fixture(scope="module")
def injecting(istiod):
    with Injecting(istiod.cluster) as running:
        yield running


@pytest.mark.parametrize("name", ["gateway-example.yaml", "sidecar-example.yaml"])
def test_the_injector_keeps_what_the_guard_needs(injecting, name):
    (deployment,) = [each for each in documents(FOLDER / name) if each["kind"] == "Deployment"]
    given = deployment["spec"]["template"]["spec"]
    pod = injecting.injected(deployment)
    before, after = proxy(given), proxy(pod["spec"])
    assert after["image"].startswith("registry.example.com/istio/")
    for field in ("env", "volumeMounts"):
        assert all(each in after[field] for each in before[field])
    for field in ("resources", "lifecycle"):
        assert after[field] == before[field]
    assert pod["spec"]["terminationGracePeriodSeconds"] == given["terminationGracePeriodSeconds"]
    assert all(each in pod["spec"]["volumes"] for each in given["volumes"])
    injecting.cluster.apply([{**pod, "spec": {**pod["spec"], "serviceAccountName": "default"}}])
    injecting.cluster.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/pod")


def proxy(spec: dict) -> dict:
    (found,) = [
        each for each in [*spec["containers"], *spec.get("initContainers", [])] if each["name"] == "istio-proxy"
    ]
    return found
