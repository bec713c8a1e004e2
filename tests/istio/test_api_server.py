"""The API server of these tests refuses what a cluster refuses, so that it finds an error in a manifest."""

from __future__ import annotations

import pytest

from harness.kubernetes import ApiError

FILTER = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: example
spec:
  configPatches: []
"""
FAULTS = {
    "an unknown field": ("configPatches: []", "configPatchez: []", ".spec.configPatchez: field not declared in schema"),
    "a value of the wrong type": ("configPatches: []", "configPatches: {}", "configPatches"),
    "an unknown kind": ("kind: EnvoyFilter", "kind: EnvoyFilters", "has no kind EnvoyFilters"),
    "an absent namespace": ("name: example", "name: example\n  namespace: absent", 'namespaces "absent" not found'),
}


@pytest.fixture
def cluster(istiod):
    return istiod.cluster


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_manifest_is_refused(cluster, fault):
    old, new, message = FAULTS[fault]
    with pytest.raises(ApiError) as refused:
        cluster.apply(FILTER.replace(old, new))
    assert message in str(refused.value)


def test_an_accepted_manifest_can_be_read_changed_and_deleted(cluster):
    (applied,) = cluster.apply(FILTER)
    path = cluster.path(applied)
    assert cluster.get(path)["metadata"]["uid"] == applied["metadata"]["uid"]
    assert cluster.patch(path, {"spec": {"priority": 5}})["spec"]["priority"] == 5
    cluster.delete(path)
    with pytest.raises(ApiError) as absent:
        cluster.get(path)
    assert absent.value.status == 404


def test_a_warning_is_an_error(cluster):
    deprecated = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "deprecated"}}
    with pytest.raises(ApiError, match="v1 Endpoints is deprecated"):
        cluster.apply([deprecated])


def test_the_status_of_a_pod_can_be_set(cluster):
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "example"},
        "spec": {"containers": [{"name": "application", "image": "registry.example.com/application"}]},
    }
    path = cluster.path(*cluster.apply([pod]))
    assert cluster.patch_status(path, {"phase": "Running", "podIP": "127.0.0.3"})["status"]["podIP"] == "127.0.0.3"
    cluster.delete(path)
