"""pilot-agent fetches the module of ecds.patch and module-remote.patch. Without the module, every request is rejected."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import threading
from types import SimpleNamespace

import pytest

from harness.envoy import MODULE, ROOT, STRING
from harness.istio import guard_of
from harness.plain_registry import MODULE_CONFIG, MODULE_LAYER, PlainRegistry
from harness.pod import NODE, Pod
from harness.polling import in_both_workers, until
from harness.ports import free_ports
from harness.registry_proxy import RegistryProxy
from harness.sidecar import PORT, Sidecar, shipped

APPLICATION = ROOT / "tests" / "istio_root" / "application.js"
RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
WRONG = "0" * 64
GOOD = ["a web server", "the image of a release by its tag", "the image of a release by its digest", "an index of that image"]
FAULTY = [
    "a file with another SHA-256", "a missing file", "a server that does not listen",
    "an image with another digest", "an image with one layer that is not an archive", "a registry that does not listen",
]


@pytest.fixture(scope="module")
def sources(istiod, tmp_path_factory):
    """A web server and a registry with the module, each a name with a URI and its SHA-256."""
    module = MODULE.read_bytes()
    digest = hashlib.sha256(module).hexdigest()
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=MODULE.parent)
    with http.server.ThreadingHTTPServer((NODE, 0), handler) as web, \
            PlainRegistry(NODE, *free_ports(1), tmp_path_factory.mktemp("registry")) as registry:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        url = f"http://{NODE}:{web.server_port}"
        image = f"oci://{registry.host}/webhook-guard"
        released = registry.push(module, "0.1.0")
        registry.push_index("index", "0.1.0")
        one = registry.push_layers("one", (MODULE_LAYER, module), config=MODULE_CONFIG)
        yield SimpleNamespace(
            registry=registry.host,
            good=dict(zip(GOOD, [
                (f"{url}/{MODULE.name}", digest), (f"{image}:0.1.0", released), (f"{image}@sha256:{released}", released),
                (f"{image}:index", released),
            ])),
            faulty=dict(zip(FAULTY, [
                (f"{url}/{MODULE.name}", WRONG), (f"{url}/missing.wasm", digest), (f"http://{NODE}:1/{MODULE.name}", digest),
                (f"{image}:0.1.0", WRONG), (f"{image}:one", one), (f"oci://{NODE}:1/webhook-guard:0.1.0", released),
            ])),
        )
        web.shutdown()


@contextlib.contextmanager
def sidecar(istiod, registry: str, source: tuple, env: dict | None = None, **guard):
    """A running sidecar whose guard is of this source. `env` is added to the environment of istio-proxy."""
    with Pod() as pod:
        documents = shipped(pod, "ecds", "module-remote")
        configure(documents, source, **guard)
        istiod.apply(documents)
        pod.redirect()
        pod.start("application", "node", APPLICATION, str(PORT), "0.0.0.0")
        yield Sidecar(pod, istiod, WASM_INSECURE_REGISTRIES=registry, **(env or {})).start()


def configure(documents: list, source: tuple, **guard) -> dict:
    """Gives the guard this source and other settings, and returns its EnvoyFilter."""
    (found,) = [each for each in documents if each["kind"] == "EnvoyFilter"]
    plugin = guard_of(found)
    plugin.update(guard)
    remote = plugin["vm_config"]["code"]["remote"]
    remote["http_uri"]["uri"], remote["sha256"] = source
    return found


def delivered(sidecar: Sidecar) -> dict:
    """The filter that istio-proxy has given Envoy by ECDS."""
    for part in sidecar.dump()["configs"]:
        for each in part.get("ecds_filters", []):
            return each["ecds_filter"].get("typed_config", {})
    return {}


@pytest.mark.parametrize("name", GOOD)
def test_the_agent_fetches_the_module_of(istiod, sources, name):
    with sidecar(istiod, sources.registry, sources.good[name]) as running:
        until(lambda: running.status() == 200, what="an answer to a signed request")
        assert running.status(signed=False) == 401
        assert delivered(running)["@type"] == WASM


@pytest.mark.parametrize("password, status", [("secret", 200), ("wrong", 403)])
def test_a_private_registry_takes_the_credentials_of_docker_config(istiod, sources, tmp_path, password, status):
    _, digest = sources.good["the image of a release by its digest"]
    with RegistryProxy(sources.registry, NODE, *free_ports(1), tmp_path) as proxy:
        proxy.credentials(tmp_path, password)
        source = (f"oci://{proxy.host}/webhook-guard@sha256:{digest}", digest)
        with sidecar(istiod, proxy.host, source, {"DOCKER_CONFIG": str(tmp_path)}) as running:
            until(lambda: running.status() == status, what=f"{status} for a signed request")
            assert running.status(signed=False) == (401 if status == 200 else 403)


@pytest.mark.parametrize("name", FAULTY)
def test_every_request_is_rejected_if_the_module_is_of(istiod, sources, name):
    with sidecar(istiod, sources.registry, sources.faulty[name]) as running:
        until(lambda: delivered(running).get("@type") == RBAC, what="the filter in place of the guard")
        until(lambda: in_both_workers(lambda: running.status() == 403), what="403")
        assert running.status(signed=False) == 403
        assert not running.pod.output("application")


def test_the_gate_rejects_what_a_filter_that_fails_open_lets_through(istiod, sources):
    with sidecar(istiod, sources.registry, sources.faulty["a file with another SHA-256"], failure_policy="FAIL_OPEN") as running:
        until(lambda: delivered(running).get("@type") == RBAC, what="the filter in place of the guard")
        assert "rules" not in delivered(running)
        until(lambda: in_both_workers(lambda: running.status() == 403), what="403")
        assert running.status(signed=False) == 403
        assert not running.pod.output("application")


def test_an_update_to_a_missing_module_rejects_every_request_until_it_is_corrected(istiod, sources):
    good = sources.good["a web server"]
    with sidecar(istiod, sources.registry, good) as running:
        documents = shipped(running.pod, "ecds", "module-remote")
        until(lambda: running.status() == 200, what="an answer to a signed request")
        istiod.cluster.apply([configure(documents, sources.faulty["a missing file"])])
        until(lambda: in_both_workers(lambda: running.status() == 403), what="403")
        istiod.cluster.apply([configure(documents, good)])
        until(lambda: in_both_workers(lambda: running.status() == 200), what="an answer to a signed request")


def test_a_faulty_configuration_leaves_the_old_one(istiod, sources):
    good = sources.good["a web server"]
    with sidecar(istiod, sources.registry, good) as running:
        documents = shipped(running.pod, "ecds", "module-remote")
        until(lambda: running.status() == 200, what="an answer to a signed request")
        before = istiod.log().count("ACK ERROR")
        istiod.cluster.apply([configure(documents, good, configuration={"@type": STRING, "value": "{}"})])
        until(lambda: istiod.log().count("ACK ERROR") > before, what="Envoy's refusal at istiod")
        assert in_both_workers(lambda: running.status() == 200)
        assert running.status(signed=False) == 401


def test_check_py_reports_a_faulty_configuration_in_a_new_pod(istiod, sources):
    """Istio's own bootstrap does not export the metrics of ECDS."""
    faulty = {"@type": STRING, "value": "{}"}
    with sidecar(istiod, sources.registry, sources.good["a web server"], configuration=faulty) as running:
        until(lambda: running.status() == 500, what="the answer 500")
        assert "Envoy has accepted no configuration of the guard" in running.check()
        assert not running.pod.output("application")
