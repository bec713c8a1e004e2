"""The end of a pod of sidecar-example.yaml, as the kubelet ends it: the hook `preStop`, then SIGTERM."""

from __future__ import annotations

import contextlib
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from harness.client import post
from harness.envoy import ROOT
from harness.http1 import Closed
from harness.istio import FOLDER
from harness.kubernetes import documents
from harness.pod import POD, Pod
from harness.polling import in_both_workers, until
from harness.sidecar import PORT, SECRET, Sidecar, mount_module, shipped
from harness.sign import default
from harness.tools import tool

APPLICATION = ROOT / "tests" / "istio_root" / "slow.py"
BODY = b'{"order": 42}'


@pytest.fixture(scope="module")
def ended(istiod):
    """The answers to deliveries and health checks while the pod ends, and its log."""
    proxy = container()
    with Pod() as pod:
        sidecar = start(pod, istiod, proxy)
        until(lambda: sidecar.status() == 200, what="an answer to a signed request")
        until(lambda: in_both_workers(lambda: answer("/healthz", "GET") == 200), what="the health check")
        before = deliveries(pod)
        with ThreadPoolExecutor() as pool:
            senders = [pool.submit(send, sidecar) for _ in range(2)]
            until(lambda: deliveries(pod) > before, what="a delivery at the application")
            program, *arguments = proxy["lifecycle"]["preStop"]["exec"]["command"]
            pod.run(tool(program), *arguments)
            health = {answer("/healthz", "GET") for _ in range(8)}
            sidecar.process.terminate()
            statuses = [status for each in senders for status in each.result()]
        until(lambda: sidecar.process.poll() is not None, what="the end of pilot-agent")
        yield SimpleNamespace(health=health, statuses=statuses, log=sidecar.log())


def container() -> dict:
    """The container istio-proxy of sidecar-example.yaml."""
    (deployment,) = [each for each in documents(FOLDER / "sidecar-example.yaml") if each["kind"] == "Deployment"]
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return next(each for each in containers if each["name"] == "istio-proxy")


def start(pod: Pod, istiod, proxy: dict) -> Sidecar:
    """The application and its sidecar, with the environment of the container."""
    mount_module(pod)
    istiod.apply(shipped(pod))
    pod.redirect()
    pod.start("application", sys.executable, APPLICATION, str(PORT))
    values = {each["name"]: each["value"] for each in proxy["env"] if "value" in each}
    return Sidecar(pod, istiod, **values).start()


def deliveries(pod: Pod) -> int:
    return pod.output("application").count("a delivery")


def send(sidecar: Sidecar) -> list:
    """Delivers, one after the other, until pilot-agent waits for connections or ends. Returns the statuses."""
    found = []
    while "There are still" not in sidecar.log() and sidecar.process.poll() is None:
        found.append(answer("/webhook", "POST", default(SECRET, BODY), BODY))
    return found


def answer(path: str, method: str, headers=(), body: bytes = b"") -> int:
    """The status of a request to the application's port, 0 without an answer."""
    with contextlib.suppress(OSError, Closed):
        return post(PORT, path, headers, body, method=method, host=POD).status
    return 0


def test_the_health_check_fails_after_the_hook(ended):
    assert ended.health == {503}


def test_pilot_agent_drains_for_as_long_as_load_balancers_need(ended):
    assert "draining proxy for 20s" in ended.log


def test_each_delivery_is_answered_until_the_end(ended):
    assert "There are no more active connections" in ended.log
    assert set(ended.statuses) == {200}, ended.statuses
