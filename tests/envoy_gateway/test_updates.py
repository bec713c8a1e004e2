"""Changes of a running installation: configuration, secrets, module."""

from __future__ import annotations

import pytest

from harness import last_release
from harness.envoy import SECRET
from harness.envoy_gateway import PATIENCE, deployment, patched, patched_files
from harness.gateway_clients import Senders
from harness.polling import in_both_workers, until
from harness.version import labels, with_version

NEW = "another-secret-of-all-orders"


@pytest.fixture
def removed(installation):
    """The test starts without the manifests."""
    installation.remove()


@pytest.fixture
def proxy(removed, installation, start):
    installation.gateway()
    installation.guard()
    return serving(start())


def serving(proxy):
    until(lambda: (proxy.status(), proxy.deliver()) == (401, 200), PATIENCE, "401 and 200")
    return proxy


def endpoints(document: dict) -> list:
    return patched(document, "webhook_guard")["typed_config"]["config"]["configuration"]["value"]["endpoints"]


def faulty(document: dict) -> None:
    endpoints(document)[0]["match"] = {"path": "not-a-path"}


def another_endpoint(document: dict) -> None:
    endpoints(document).append({
        "name": "more", "match": {"path": "/more"}, "secrets": [{"version": "v1", "env": "WEBHOOK_SECRET"}],
    })


def test_envoy_keeps_the_old_configuration_instead_of_a_faulty_one(proxy, installation):
    """The policies do not show that. The counter does, and a new pod does not get ready."""
    installation.guard(faulty)
    until(lambda: proxy.stat("listener_manager.lds.update_rejected") == 1, PATIENCE, "a refusal")
    assert (proxy.status(), proxy.deliver()) == (401, 200)
    assert "not-a-path" in proxy.log()
    for condition in ("Accepted", "Programmed"):
        assert installation.condition("envoypatchpolicies", "webhook-guard", condition)["status"] == "True"

    proxy.restart(listening=False)
    until(lambda: proxy.stat("listener_manager.lds.update_rejected") == 1, PATIENCE, "a refusal")
    assert proxy.get("/ready", port=19003) == ""
    assert not proxy.is_ready()

    installation.guard()
    serving(proxy)
    assert proxy.is_ready()


def test_a_module_that_envoy_cannot_load_keeps_a_pod_from_being_ready(removed, installation, start):
    installation.gateway()
    installation.module(b"not a module")
    installation.guard()
    proxy = start(listening=False)
    until(lambda: proxy.stat("listener_manager.lds.update_rejected") == 1, PATIENCE, "a refusal")
    assert proxy.status() is None
    assert not proxy.is_ready()


def test_a_new_configuration_costs_no_request(proxy, installation):
    with Senders(proxy) as senders:
        until(lambda: len(senders.signed) > 200, PATIENCE, "requests before the change")
        installation.guard(another_endpoint)
        until(lambda: in_both_workers(lambda: proxy.deliver(path="/more") == 200), PATIENCE, "the new endpoint")
        enough = len(senders.signed) + 200
        until(lambda: len(senders.signed) > enough, PATIENCE, "requests after the change")
    assert set(senders.signed) == {200}
    assert set(senders.unsigned) == {401}


def test_a_new_module_has_a_config_map_of_its_own(removed, installation, start):
    """An upgrade from the last release, and the way back: the Deployment names one ConfigMap or the other."""
    modules = {"webhook-guard-1": last_release.read(last_release.MODULE), "webhook-guard-2": with_version("9.0.1")}

    def known_to_both(document: dict) -> None:
        config = patched(document, "webhook_guard")["typed_config"]["config"]
        config["configuration"]["value"] = last_release.configuration()

    def apply(name: str) -> None:
        def use(document: dict) -> None:
            if document["kind"] == "EnvoyProxy":
                pod = document["spec"]["provider"]["kubernetes"]["envoyDeployment"]["pod"]
                pod["volumes"][0]["configMap"]["name"] = name

        installation.gateway(use)
        for each, content in modules.items():
            installation.module(content, each)
        until(lambda: f"'{name}'" in str(deployment(installation.cluster)), PATIENCE, "the changed Deployment")

    apply("webhook-guard-1")
    installation.guard(known_to_both)
    proxy = start()
    for name in ("webhook-guard-1", "webhook-guard-2", "webhook-guard-1"):
        apply(name)
        serving(proxy.restart())
        served = proxy.get("/stats/prometheus", port=19001)
        commit, version = labels(modules[name])
        assert f'webhook_guard_build_info{{commit="{commit}",version="{version}"}} 1' in served


def test_a_new_variable_rotates_a_secret_with_a_restart(proxy, installation):
    def variable(document: dict) -> None:
        if document["kind"] == "EnvoyProxy":
            container = document["spec"]["provider"]["kubernetes"]["envoyDeployment"]["container"]
            reference = {"name": "webhook-secrets", "key": "orders-2"}
            container["env"].append({"name": "WEBHOOK_SECRET_2", "valueFrom": {"secretKeyRef": reference}})

    def version(document: dict) -> None:
        config = patched(document, "webhook_guard")["typed_config"]["config"]
        config["vm_config"]["environment_variables"]["host_env_keys"].append("WEBHOOK_SECRET_2")
        endpoints(document)[0]["secrets"].insert(0, {"version": "v2", "env": "WEBHOOK_SECRET_2"})

    installation.gateway(variable)
    installation.secret(orders=SECRET, orders_2=NEW)
    installation.guard(version)
    until(lambda: proxy.stat("listener_manager.lds.update_rejected") > 0, PATIENCE, "a refusal by the old pod")
    assert (proxy.status(), proxy.deliver()) == (401, 200)
    until(lambda: "WEBHOOK_SECRET_2" in str(deployment(installation.cluster)), PATIENCE, "the changed Deployment")
    proxy.restart()
    until(lambda: proxy.deliver(secret=NEW) == 200, PATIENCE, "the new secret")
    assert proxy.deliver(secret=SECRET) == 200


@pytest.fixture
def secret_files(removed, installation, start):
    """The manifests with secret-files.patch."""
    files = patched_files("secret-files")
    installation.gateway(text=files["gateway.yaml"])
    installation.secret(orders_a=SECRET, orders_b=SECRET)
    installation.guard(text=files["guard.yaml"])
    return serving(start())


def test_a_changed_secret_counts_without_a_restart(secret_files, installation):
    proxy = secret_files
    assert proxy.deliver(secret=NEW) == 401
    installation.secret(orders_a=SECRET, orders_b=NEW)
    proxy.update_volume("webhook-secrets")
    until(lambda: in_both_workers(lambda: proxy.deliver(secret=NEW) == 200), PATIENCE, "the new secret")
    assert proxy.deliver(secret=SECRET) == 200
    installation.secret(orders_a=NEW, orders_b=NEW)
    proxy.update_volume("webhook-secrets")
    until(lambda: in_both_workers(lambda: proxy.deliver(secret=SECRET) == 401), PATIENCE, "the end of the old secret")
    assert proxy.deliver(secret=NEW) == 200
