"""The module from a registry: Envoy Gateway pulls it with image.patch, and the kubelet with image-volume.patch."""

from __future__ import annotations

import pytest

from harness.envoy import MODULE, SECRET
from harness.envoy_gateway import ENVOYS, NAMESPACE, PATIENCE, patched_files, route
from harness.gateway_clients import Senders
from harness.polling import until
from harness.registry import Registry
from harness.tls import Authority, server

FILES = patched_files("image")
MIB = 1 << 20
# The digest in manifests of a clone.
NONE = "0" * 64
# A custom section with the name `x`. The module is another one, and does the same.
CUSTOM_SECTION = b"\x00\x02\x01x"


@pytest.fixture(scope="module")
def registry(tmp_path_factory, installation):
    """The registry that image.patch names, with a certificate of a private authority."""
    folder = tmp_path_factory.mktemp("registry")
    authority = Authority()
    authority.write(folder, "registry.example.com")
    installation.cluster.apply([{
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "registry-ca", "namespace": NAMESPACE},
        "data": {"ca.crt": authority.pem.decode()},
    }])
    registry = Registry(server(folder))
    yield registry
    registry.stop()


@pytest.fixture
def guard(registry, installation):
    """Applies guard.yaml with the image of a digest, as the patch names it."""

    def guard(digest: str) -> None:
        def pin(document: dict) -> None:
            if document["kind"] == "EnvoyExtensionPolicy":
                image = document["spec"]["wasm"][0]["code"]["image"]
                image["url"] = image["url"].replace(NONE, digest)
                image["tls"] = {"caCertificateRef": {"group": "", "kind": "ConfigMap", "name": "registry-ca"}}

        installation.guard(pin, text=FILES["guard.yaml"])

    return guard


@pytest.fixture
def envoy_version() -> str:
    return ENVOYS[-1]


@pytest.fixture
def proxy(envoy_version, registry, guard, installation, start):
    installation.remove()
    installation.gateway(text=FILES["gateway.yaml"])
    guard(registry.push(MODULE.read_bytes()))
    proxy = start(envoy_version)
    until(lambda: (proxy.status(), proxy.deliver()) == (401, 200), PATIENCE, "401 and 200")
    return proxy


@pytest.mark.parametrize("envoy_version", ENVOYS)
def test_only_signed_requests_reach_the_application(proxy, upstream):
    large = b"x" * MIB
    with upstream.nothing():
        assert proxy.deliver(secret="another-secret-altogether") == 401
        assert proxy.deliver(large + b"x") == 413
        assert proxy.deliver(path="/other") == 404
    assert proxy.deliver(large) == 200
    assert upstream.requests[-1].body == large
    assert proxy.status("/healthz", method="GET") == 200


def test_the_filters_are_in_order(proxy):
    names = [each["name"] for each in proxy.manager()["http_filters"]]
    assert names == [
        "shield",
        "health_check",
        "envoy.filters.http.set_filter_state",
        "admitted",
        "envoy.filters.http.wasm/envoyextensionpolicy/webhooks/webhook-guard/wasm/0",
        "envoy.filters.http.rbac",  # the lock
        "gate",
        "strip",
        "envoy.filters.http.router",
    ]


def closes(proxy) -> None:
    until(lambda: proxy.deliver() == 403, PATIENCE, "a closed Gateway")


def test_a_wrong_digest_closes_the_gateway(proxy, guard, unsigned):
    guard("0" * 64)
    closes(proxy)


def test_a_deleted_policy_closes_the_gateway(proxy, installation, unsigned):
    installation.delete("envoyextensionpolicies", "webhook-guard")
    closes(proxy)


def test_disabled_patches_let_signed_requests_wait(proxy, controller, unsigned):
    """The guard has seen a body before, and waits for the next one until Envoy's timeout."""
    controller.restart(extensionApis={"enableEnvoyPatchPolicy": False})
    try:
        until(lambda: proxy.deliver(timeout=60) == 504, PATIENCE, "504")
    finally:
        controller.restart()
        until(lambda: proxy.deliver(timeout=60) == 200, PATIENCE, "200")


def test_the_policy_alone_accepts_nothing(proxy, installation, unsigned):
    """Without lock and patches, the guard cannot see a body."""
    installation.delete("securitypolicies", "webhook-guard-lock")
    installation.delete("envoypatchpolicies", "webhook-guard")
    names = ["envoy.filters.http.wasm/envoyextensionpolicy/webhooks/webhook-guard/wasm/0", "envoy.filters.http.router"]
    until(lambda: [each["name"] for each in proxy.manager()["http_filters"]] == names, PATIENCE, "the guard alone")
    proxy.restart()
    until(lambda: proxy.deliver() == 503, PATIENCE, "503")


def test_an_empty_policy_of_the_only_route_closes_the_gateway(proxy, installation, unsigned):
    installation.own_policy("EnvoyExtensionPolicy", {})
    try:
        closes(proxy)
    finally:
        installation.delete("envoyextensionpolicies", "own")


def test_an_empty_policy_of_one_route_does_not_switch_the_guard_off(proxy, installation, unsigned):
    installation.cluster.apply([route("other", "/other")])
    installation.own_policy("EnvoyExtensionPolicy", {})
    try:
        proxy.settle(installation)
        assert proxy.deliver() == 200
    finally:
        installation.delete("envoyextensionpolicies", "own")


def test_a_new_module_costs_no_request(proxy, registry, guard):
    digest = registry.push(MODULE.read_bytes() + CUSTOM_SECTION, "0.2.0")
    with Senders(proxy) as senders:
        until(lambda: len(senders.signed) > 200, PATIENCE, "requests before the change")
        before = sha256(proxy)
        guard(digest)
        until(lambda: sha256(proxy) != before, PATIENCE, "the new module")
        enough = len(senders.signed) + 400
        until(lambda: len(senders.signed) > enough, PATIENCE, "requests after the change")
    assert set(senders.signed) == {200}
    assert set(senders.unsigned) == {401}


@pytest.mark.parametrize("patches", [["image-volume"], ["image-volume", "secret-files"]], ids=str)
def test_the_kubelet_pulls_the_image(patches, registry, installation, start, upstream):
    """The API server and the controller are real, and the tests pull the image in the place of the kubelet."""
    files = patched_files(*patches)
    digest = registry.push(MODULE.read_bytes())
    installation.remove()
    reference = f"registry.example.com/webhook-guard@sha256:{NONE}"
    installation.gateway(text=files["gateway.yaml"].replace(reference, registry.local(digest)))
    installation.secret(orders_a=SECRET, orders_b=SECRET, orders=SECRET)
    installation.guard(text=files["guard.yaml"])
    proxy = start(ENVOYS[-1])
    with upstream.nothing():
        until(lambda: proxy.status() == 401, PATIENCE, "401")
    assert proxy.deliver() == 200


def sha256(proxy) -> str:
    """The hash of the module that the listener runs."""
    (guard,) = [each for each in proxy.manager()["http_filters"] if "/webhook-guard/wasm/" in each["name"]]
    return guard["typed_config"]["config"]["vm_config"]["code"]["remote"]["sha256"]
