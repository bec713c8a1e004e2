"""Istio's injector completes the container istio-proxy of the examples, and keeps what the guard needs."""

from __future__ import annotations

import pytest
import yaml

from harness.istio import FOLDER, NAMESPACE, Injecting, patched
from harness.kubernetes import documents


@pytest.fixture(scope="module")
def injecting(istiod):
    with Injecting(istiod.cluster) as running:
        yield running


@pytest.mark.parametrize("patches", [[], ["image-volume"]], ids=str)
@pytest.mark.parametrize("name", ["gateway-example.yaml", "sidecar-example.yaml"])
def test_the_injector_keeps_what_the_guard_needs(injecting, name, patches):
    (deployment,) = [each for each in documents(patched(name, *patches)) if each["kind"] == "Deployment"]
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


def test_the_injector_keeps_the_startup_probe_of_the_page(injecting):
    """With this probe, a new gateway that answers 500 does not become ready."""
    (deployment,) = [each for each in documents(FOLDER / "gateway-example.yaml") if each["kind"] == "Deployment"]
    probe = block_of_the_page("startupProbe")
    proxy(deployment["spec"]["template"]["spec"]).update(probe)
    assert proxy(injecting.injected(deployment)["spec"]).items() >= probe.items()


def test_an_init_container_of_the_page_can_bring_the_module(injecting):
    (deployment,) = [each for each in documents(FOLDER / "gateway-example.yaml") if each["kind"] == "Deployment"]
    block = block_of_the_page("initContainers")
    spec = deployment["spec"]["template"]["spec"]
    spec["volumes"] = [*block["volumes"], *(each for each in spec["volumes"] if each["name"] != "webhook-guard")]
    spec["initContainers"] = block["initContainers"]
    pod = injecting.injected(deployment)
    (copying,) = [each for each in pod["spec"]["initContainers"] if each["name"] == "webhook-guard"]
    assert copying["command"] == ["cp", "/plugin.wasm", "/to/plugin.wasm"]
    injecting.cluster.apply([{**pod, "spec": {**pod["spec"], "serviceAccountName": "default"}}])
    injecting.cluster.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/pod")


def block_of_the_page(start: str) -> dict:
    """The only YAML on the page that begins with this text."""
    page = (FOLDER / "README.md").read_text()
    (block,) = [each for each in page.split("```yaml\n") if each.startswith(start)]
    return yaml.safe_load(block.split("```")[0])


def proxy(spec: dict) -> dict:
    (found,) = [
        each for each in [*spec["containers"], *spec.get("initContainers", [])] if each["name"] == "istio-proxy"
    ]
    return found
