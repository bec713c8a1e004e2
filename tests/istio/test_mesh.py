"""Settings of the mesh and of istiod that change what the guard sees."""

from __future__ import annotations

import pytest

from harness.client import Client, head, post
from harness.istio import Installation, Istiod, Proxy
from harness.sign import default

BODY = b'{"order": 42}'
SECRET = "dev-only-webhook-secret"


@pytest.fixture(scope="module")
def shipped(istiod, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mounts")
    with Installation(istiod, folder, "gateway.yaml", "gateway-example.yaml") as installed:
        yield installed


@pytest.fixture
def gateway(istiod, shipped, request):
    """The gateway of another istiod with the same objects: mesh configuration, environment of istiod."""
    mesh, settings = request.param
    with Istiod(istiod.cluster, mesh, **settings) as other:
        with Proxy(other, "webhook-gateway", shipped.port) as running:
            yield running


def expect_continue(gateway) -> int:
    """The status for a client that sends the body only after `100 Continue`."""
    headers = [*default(SECRET, BODY), ("content-length", str(len(BODY))), ("expect", "100-continue")]
    with Client(gateway.port, timeout=60) as client:
        client.send(head("/webhook", headers))
        first = client.socket.recv(65536)
        if first.startswith(b"HTTP/1.1 100"):
            client.send(BODY)
            return client.response().status
        return int(first.split()[1])


@pytest.mark.parametrize("gateway", [({}, {})], indirect=True)
def test_by_default_a_client_that_waits_for_100_continue_gets_408(gateway):
    assert expect_continue(gateway) == 408


@pytest.mark.parametrize("gateway", [({}, {"ENABLE_100_CONTINUE_HEADERS": "false"})], indirect=True)
def test_with_the_setting_of_istiod_a_client_gets_100_continue(gateway):
    assert expect_continue(gateway) == 200


@pytest.mark.parametrize("gateway", [({"pathNormalization": {}}, {})], indirect=True)
def test_with_istios_default_the_guard_sees_the_normal_form_of_a_path(gateway):
    for path in ("/webhook", "/other/../webhook", "/%77ebhook"):
        assert post(gateway.port, path, [], BODY).status == 401
        assert post(gateway.port, path, default(SECRET, BODY), BODY).status == 200
    assert post(gateway.port, "/other/..%2fwebhook", [], BODY).status == 400


@pytest.mark.parametrize("gateway", [({}, {})], indirect=True)
def test_without_normalisation_the_guard_rejects_ambiguous_paths(gateway):
    assert post(gateway.port, "/other/../webhook", default(SECRET, BODY), BODY).status == 400


@pytest.mark.parametrize("gateway", [({}, {})], indirect=True)
def test_the_gateway_answers_health_checks(gateway):
    answer = post(gateway.port, "/healthz", [], method="GET")
    assert answer.status == 200 and answer.body != b"verified\n"
