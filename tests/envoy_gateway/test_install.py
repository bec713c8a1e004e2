"""The two manifests on a real API server: what a newcomer applies, and sees."""

from __future__ import annotations

import re

import pytest
import yaml

from harness.edge import EDGE
from harness.envoy import SECRET, Document
from harness.envoy_gateway import ENVOYS, FOLDER, PATIENCE, patched
from harness.polling import until
from harness.sign import default

MIB = 1 << 20


@pytest.fixture(scope="module", params=ENVOYS)
def proxy(request, installation, upstream, start):
    """Envoy with both manifests, applied one after the other. The Gateway is closed between the two."""
    installation.gateway()
    request.addfinalizer(installation.remove)
    proxy = start(request.param)
    with upstream.nothing():
        assert (proxy.status(), proxy.deliver(), proxy.status("/other")) == (403, 403, 403)
    installation.guard()
    until(lambda: proxy.status() == 401, PATIENCE, "the guard's answer")
    return proxy


def test_only_signed_requests_reach_the_application(proxy, upstream):
    large = b"x" * MIB
    before = len(upstream.requests)
    with upstream.nothing():
        assert proxy.status() == 401
        assert proxy.deliver(secret="another-secret-altogether") == 401
        assert proxy.deliver(large + b"x") == 413
        assert proxy.deliver(path="/other") == 404
        assert proxy.deliver(path="//webhook") == 400
    assert proxy.deliver() == 200
    assert proxy.deliver(large) == 200
    assert [each.body for each in upstream.requests[before:]] == [b"{}", large]


def test_the_policies_are_accepted_and_programmed(proxy, installation):
    for kind, name in (
        ("securitypolicies", "webhook-guard-lock"),
        ("clienttrafficpolicies", "webhooks"),
        ("backendtrafficpolicies", "webhooks"),
        ("envoypatchpolicies", "webhook-guard"),
    ):
        assert installation.condition(kind, name, "Accepted")["status"] == "True", name
    assert installation.condition("envoypatchpolicies", "webhook-guard", "Programmed")["status"] == "True"


def test_the_filters_are_in_order(proxy):
    names = [each["name"] for each in proxy.manager()["http_filters"]]
    assert names == [
        "shield",
        "health_check",
        "envoy.filters.http.set_filter_state",
        "admitted",
        "webhook_guard",
        "envoy.filters.http.rbac",  # the lock
        "gate",
        "strip",
        "envoy.filters.http.router",
    ]
    assert not any(each.get("disabled") for each in proxy.manager()["http_filters"])


def test_the_upstream_gets_the_headers_that_it_can_trust(proxy, upstream):
    before = len(upstream.requests)
    headers = [*default(SECRET, b"{}"), ("x-request-id", "from-the-sender"), ("x-original-url", "/admin"), ("x_a", "1")]
    assert proxy.status("/webhook", headers) == 200
    got = upstream.next(before)
    assert got.get("x-request-id") == "from-the-sender"
    assert got.get("x-real-ip") == "127.0.0.1"
    assert got.get("x-original-url") is None and got.get("x_a") is None


def test_the_commands_of_the_page_get_401_and_200(proxy, installation):
    page = (FOLDER / "README.md").read_text()
    secret = re.search(r"--from-literal=orders=(\S+)", page)[1]
    signature = re.search(r"X-Webhook-Signature: (\w+)", page)[1]
    body = re.search(r"/webhook -d '(.*)'\s+401", page)[1].encode()
    installation.secret(orders=secret)
    proxy.restart()
    until(lambda: proxy.status("/webhook", (), body) == 401, PATIENCE, "401")
    assert proxy.status("/webhook", [("X-Webhook-Signature", signature)], body) == 200


@pytest.mark.parametrize("name", ["shield", "admitted", "gate", "health_check", "strip", "envoy.filters.http.set_filter_state"])
def test_the_filters_are_those_of_edge_yaml(name):
    (edge,) = [each for each in Document(EDGE.read_text()).filters if each["name"] == name]
    assert patched(yaml.safe_load((FOLDER / "guard.yaml").read_text()), name) == edge


def test_the_local_replies_are_those_of_edge_yaml():
    edge = Document(EDGE.read_text()).manager["local_reply_config"]
    patches = yaml.safe_load((FOLDER / "guard.yaml").read_text())["spec"]["jsonPatches"]
    (value,) = [each["operation"]["value"] for each in patches if each["operation"].get("path") == "/local_reply_config"]
    assert value == edge
