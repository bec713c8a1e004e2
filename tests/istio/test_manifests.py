"""The manifests hold the settings of edge.yaml, and istioctl accepts them."""

from __future__ import annotations

import subprocess

import pytest

from harness.edge import EDGE
from harness.envoy import Document
from harness.istio import FOLDER, patched
from harness.kubernetes import documents
from harness.tools import tool

MANIFESTS = sorted(FOLDER.glob("*.yaml"))
CONTEXTS = {"gateway.yaml": "GATEWAY", "sidecar.yaml": "SIDECAR_INBOUND"}

# Settings of the connection manager in edge.yaml that the manifests do not set.
OF_ISTIO = {
    "stat_prefix": "Istio's dashboards use its own",
    "route_config": "the routes are of VirtualService, and the patches of VIRTUAL_HOST hold the rest",
    "http_filters": "compared filter by filter",
    "use_remote_address": "true on gateways, false on sidecars, whose clients are other proxies",
    "normalize_path": "a merge cannot unset what the mesh's pathNormalization sets",
    "merge_slashes": "the same",
}
# Settings of the manifests that edge.yaml does not need.
ONLY_HERE = {"request_id_extension": "Istio's tracing would change the id"}

# Patches that fit each other, in their order.
VARIANTS = [
    ("gateway.yaml", ["secrets-file"]),
    ("gateway.yaml", ["ecds", "module-remote", "secrets-sds", "gateway-api"]),
    ("gateway-example.yaml", ["image-volume"]),
    ("sidecar.yaml", ["secrets-sds"]),
    ("sidecar-example.yaml", ["image-volume"]),
    ("sidecar.yaml", ["ecds", "module-remote", "secrets-file"]),
]


class Patches:
    """The patches of the EnvoyFilter in a manifest."""

    def __init__(self, name: str) -> None:
        (found,) = [each for each in documents(FOLDER / name) if each["kind"] == "EnvoyFilter"]
        self.spec = found["spec"]
        self.all = self.spec["configPatches"]

    def values(self, kind: str, operation: str) -> list:
        return [
            each["patch"]["value"]
            for each in self.all
            if each["applyTo"] == kind and each["patch"]["operation"] == operation
        ]


@pytest.fixture(params=CONTEXTS)
def patches(request):
    return Patches(request.param)


@pytest.fixture(scope="module")
def edge():
    return Document(EDGE.read_text())


def test_each_filter_equals_that_of_edge_yaml(patches, edge):
    *filters, router = edge.filters
    edge.guard["vm_config"]["code"] = {"local": {"filename": "/etc/webhook-guard/plugin.wasm"}}
    assert patches.values("HTTP_FILTER", "INSERT_BEFORE") == filters
    assert patches.values("HTTP_FILTER", "MERGE") == [router]


def test_the_connection_manager_equals_that_of_edge_yaml(patches, edge):
    (value,) = patches.values("NETWORK_FILTER", "MERGE")
    here = {key: each for key, each in value["typed_config"].items() if key not in ONLY_HERE}
    assert here == {key: each for key, each in edge.manager.items() if key not in OF_ISTIO}


def test_the_virtual_host_equals_that_of_edge_yaml(patches, edge):
    (value,) = patches.values("VIRTUAL_HOST", "MERGE")
    assert value == {key: each for key, each in edge.virtual_host.items() if key not in ("name", "domains", "routes")}


def test_the_listener_buffers_as_much_as_in_edge_yaml(patches, edge):
    (value,) = patches.values("LISTENER", "MERGE")
    assert value.items() <= edge.listener.items()


@pytest.mark.parametrize("name, context", CONTEXTS.items())
def test_a_manifest_patches_one_context_only(name, context):
    assert {each["match"]["context"] for each in Patches(name).all} == {context}


def test_no_manifest_replaces_the_filters_of_another():
    """A second object of the same name would leave the first gateway without the guard."""
    texts = [patched("gateway.yaml"), patched("gateway.yaml", "gateway-api"), patched("sidecar.yaml")]
    names = [
        (each["kind"], each["metadata"]["name"])
        for text in texts
        for each in documents(text)
        if each["kind"] in ("EnvoyFilter", "Telemetry", "AuthorizationPolicy")
    ]
    assert len(names) == len(set(names)), names


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: each.name)
def test_istioctl_accepts_every_manifest(manifest):
    """An unknown field is only a warning. The general warning about EnvoyFilter is expected."""
    done = run("validate", "-f", manifest)
    warnings = [line for line in done.splitlines() if line.strip().startswith("*")]
    assert all("exposes internal implementation details" in line for line in warnings), done
    assert "No validation issues found" in run("analyze", "--use-kube=false", manifest)


@pytest.mark.parametrize("name, patches", VARIANTS, ids=str)
def test_istioctl_accepts_each_manifest_with_patches(name, patches, tmp_path):
    file = tmp_path / name
    file.write_text(patched(name, *patches))
    test_istioctl_accepts_every_manifest(file)


def test_the_patches_above_are_all_patches():
    assert {each for _, patches in VARIANTS for each in patches} == {each.stem for each in FOLDER.glob("*.patch")}


def test_istioctl_reports_an_unknown_field_of_a_filter(tmp_path):
    text = (FOLDER / "gateway.yaml").read_text()
    faulty = tmp_path / "faulty.yaml"
    faulty.write_text(text.replace("allow_on_headers_stop_iteration: true", "allow_on_headers_stop: true"))
    assert "unknown field" in run("validate", "-f", faulty)


def run(*command) -> str:
    """The output of istioctl, which must succeed."""
    done = subprocess.run([tool("istioctl"), *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
