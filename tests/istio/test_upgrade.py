"""An upgrade from the last release, and the way back: the Deployment names one ConfigMap or the other."""

from __future__ import annotations

import base64

from harness import last_release
from harness.client import post
from harness.istio import Installation, Proxy, guard_of, module_config_map
from harness.polling import until
from harness.version import labels, with_version

BODY = b'{"order": 42}'


def test_a_new_module_has_a_config_map_of_its_own(istiod, tmp_path):
    modules = {"webhook-guard": last_release.read(last_release.MODULE), "webhook-guard-2": with_version("9.0.1")}
    with Installation(istiod, tmp_path, "gateway.yaml", "gateway-example.yaml") as installed:
        istiod.apply([of_the_last_release(installed)])
        # The block deletes the second one at its end, too.
        installed.applied.append(config_map("webhook-guard-2", modules["webhook-guard-2"]))
        istiod.apply([config_map(*each) for each in modules.items()])
        for name in ("webhook-guard", "webhook-guard-2", "webhook-guard"):
            istiod.apply([rollout(installed, name)])
            with Proxy(istiod, "webhook-gateway", installed.port) as pod:
                until(lambda: pod.deliver(BODY).status == 200, what="a delivery")
                assert post(pod.port, "/webhook", [], BODY).status == 401
                commit, version = labels(modules[name])
                served = f"wasmcustom.webhook_guard_build_info.commit={commit}.version={version}"
                assert pod.stats("build_info") == {served: 1}


def config_map(name: str, module: bytes) -> dict:
    found = module_config_map()
    found["metadata"]["name"] = name
    return {**found, "binaryData": {"plugin.wasm": base64.b64encode(module).decode()}}


def of_the_last_release(installed: Installation) -> dict:
    """The EnvoyFilter with a configuration that both modules know."""
    found = installed.object("EnvoyFilter")
    guard_of(found)["configuration"]["value"] = last_release.configuration()
    return found


def rollout(installed: Installation, name: str) -> dict:
    """The Deployment with this ConfigMap."""
    found = installed.object("Deployment")
    for each in found["spec"]["template"]["spec"]["volumes"]:
        if each.get("configMap", {}).get("name", "").startswith("webhook-guard"):
            each["configMap"]["name"] = name
    return found
