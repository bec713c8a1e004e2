"""Secrets from files of a mounted Secret, and by SDS from such files: they change without a restart."""

from __future__ import annotations

import base64

import pytest

from harness.istio import NAMESPACE, Installation, Proxy
from harness.polling import in_both_workers, until
from harness.secret_sources import sds

A, B, NEW = "the-first-of-two-secrets", "the-second-of-two-secrets", "the-secret-after-a-rotation"


class Rotating:
    """A gateway whose secrets are in a mounted Secret, in the form that a patch expects."""

    def __init__(self, istiod, folder, source: str, *patches: str) -> None:
        self.source = source
        self.installed = Installation(
            istiod, folder, "gateway.yaml", "gateway-example.yaml", patches=[*patches, f"secrets-{source}"]
        )
        secret = next(each for each in self.installed.applied if each["kind"] == "Secret")
        secret["stringData"].update(self._entry("a", A) | self._entry("b", B))

    def __enter__(self) -> Rotating:
        self.installed.__enter__()
        self.proxy = Proxy(self.installed.istiod, "webhook-gateway", self.installed.port).__enter__()
        return self

    def __exit__(self, *_) -> None:
        self.proxy.stop()
        self.installed.__exit__()

    def put(self, letter: str, value: str) -> None:
        """Changes a key of the Secret at the API server, and the mounted files as the kubelet does."""
        data = {key: base64.b64encode(each.encode()).decode() for key, each in self._entry(letter, value).items()}
        self.proxy.cluster.patch(f"/api/v1/namespaces/{NAMESPACE}/secrets/webhook-secrets", {"data": data})
        self.proxy.update_volumes()

    def accepts(self, secret: str) -> bool:
        return self.proxy.deliver(secret=secret).status == 200

    def _entry(self, letter: str, value: str) -> dict:
        if self.source == "file":
            return {f"orders-{letter}": value}
        return {f"orders-{letter}.yaml": sds(f"orders-{letter}", value)}


@pytest.fixture(scope="module", params=["file", "sds", "file and ecds"])
def rotating(request, istiod, tmp_path_factory):
    source, *patches = request.param.split(" and ")
    with Rotating(istiod, tmp_path_factory.mktemp("mounts"), source, *patches) as running:
        yield running


def test_both_secrets_verify_and_a_rotation_needs_no_restart(rotating):
    for old in (A, B):
        assert in_both_workers(lambda: rotating.accepts(old))
    assert rotating.proxy.deliver(secret=NEW).status == 401
    rotating.put("a", NEW)
    until(lambda: in_both_workers(lambda: rotating.accepts(NEW)), what="the new secret in both workers")
    until(lambda: in_both_workers(lambda: not rotating.accepts(A)), what="the end of the old secret")
    assert in_both_workers(lambda: rotating.accepts(B))


def test_no_secret_is_in_the_logs(rotating):
    rotating.proxy.deliver(secret=B)
    logged = rotating.proxy.log() + (rotating.proxy.folder / "access").read_text()
    assert not [each for each in (A, B, NEW) if each in logged]
