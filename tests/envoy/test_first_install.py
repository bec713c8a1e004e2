"""The first installation on a running Envoy: what Envoy refuses, what it ignores, and what it goes on serving."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import threading

import pytest

from harness import client
from harness.envoy import MODULE, ROOT, SECRET, Envoy, version
from harness.http1 import Closed
from harness.polling import in_both_workers, until
from harness.ports import free_ports
from harness.sign import default

BODY = b'{"order": 42}'
FLAG = "allow_on_headers_stop_iteration"


class Served(Envoy):
    """An Envoy whose listener is in a watched file, as a control plane would send it."""

    def __init__(self, upstream_port, **options) -> None:
        super().__init__(upstream_port, **options)
        self.document.data["node"] = {"id": "test", "cluster": "test"}
        self._listeners = self.folder / "lds"
        self._listeners.mkdir()
        self.document.data["static_resources"]["listeners"] = []
        self.document.data["dynamic_resources"] = {
            "lds_config": {
                "path_config_source": {
                    "path": str(self._listeners / "lds.json"),
                    "watched_directory": {"path": str(self._listeners)},
                }
            }
        }
        self.serve(self.document.listener)

    def serve(self, listener: dict) -> None:
        """Sends this listener. Its address stays the same, any free port, so Envoy keeps the socket that it has."""
        kind = "type.googleapis.com/envoy.config.listener.v3.Listener"
        scratch = self._listeners / ".new"
        scratch.write_text(json.dumps({"resources": [{"@type": kind, **listener}]}))
        scratch.rename(self._listeners / "lds.json")

    def updated(self) -> int:
        return self.stats("lds.update_success")["listener_manager.lds.update_success"]

    def rejected(self) -> int:
        return self.stats("lds.update_rejected")["listener_manager.lds.update_rejected"]

    def exchanged(self) -> bool:
        """Whether an update has replaced the filter chain, and no connection uses the old one."""
        stats = self.stats("^listener_manager[.]")
        updated = stats["listener_manager.listener_in_place_updated"]
        return updated > 0 and stats["listener_manager.total_filter_chains_draining"] == 0


@pytest.fixture
def serve(request):
    """Starts an Envoy whose listener is in a watched file."""

    def serve(upstream, **options) -> Served:
        running = Served(upstream.port, **options)
        request.addfinalizer(running.stop)
        return running.start()

    return serve


def statuses(envoy) -> tuple:
    """The answers to an unsigned request and to a signed one."""
    signed = default(SECRET, BODY)
    return tuple(client.post(envoy.port, "/webhook", headers, BODY).status for headers in ([], signed))


def is_guarded(envoy) -> bool:
    # Envoy closes connections of the old listener while it drains.
    with contextlib.suppress(Closed, OSError):
        return statuses(envoy) == (401, 200)
    return False


def misnamed(document) -> None:
    """With a field that Envoy does not know, in place of the flag. Envoy 1.34 does not know the flag."""
    document.guard[FLAG + "_of_later"] = document.guard.pop(FLAG)


def without_module(document) -> None:
    document.guard["vm_config"]["code"]["local"]["filename"] = "/nonexistent.wasm"


def without_v8(document) -> None:
    """As in an Envoy that was built without the runtime that the file names."""
    document.guard["vm_config"]["runtime"] = "envoy.wasm.runtime.wamr"


def faulty(document) -> None:
    document.configure({"endpoints": []}, as_text=False)


FAULTS = {
    misnamed: "no such field",
    without_module: "Invalid path: /nonexistent.wasm",
    without_v8: "Failed to create Wasm VM using envoy.wasm.runtime.wamr runtime. Envoy was compiled without support for it",
    faulty: "Unable to create Wasm",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_with_the_fault_in_its_file_envoy_does_not_start(fault, upstream):
    envoy = Envoy(upstream.port, patch=fault)
    assert envoy.start_refused() == 1
    # Envoy 1.40 varies the white space of this message.
    assert FAULTS[fault] in " ".join(envoy.log().split())


def test_the_messages_are_on_the_page():
    page = (ROOT / "envoy" / "platforms.md").read_text()
    for message in FAULTS.values():
        assert message.replace("runtime.wamr", "runtime.v8").replace("/nonexistent.wasm", "") in page, message


def test_a_field_that_envoy_does_not_know_is_ignored_if_it_is_from_a_control_plane(serve, upstream):
    envoy = serve(upstream, patch=misnamed)
    with upstream.nothing():
        assert statuses(envoy) == (401, 503)
    assert envoy.stats("unknown_fields")["server.dynamic_unknown_fields"] > 0
    assert envoy.count("orders", "denied", "body_unavailable") == 1
    assert FLAG in envoy.log()


@pytest.mark.parametrize("fault", [without_module, without_v8, faulty], ids=lambda fault: fault.__name__)
def test_a_refused_update_leaves_the_listener_without_the_guard(fault, serve, upstream):
    """So the check after an installation has to be a request."""
    envoy = serve(upstream, patch=lambda document: document.remove_filters("webhook_guard", "gate"))
    assert statuses(envoy) == (200, 200), "there is no guard yet"
    envoy.serve(Envoy(upstream.port, patch=fault).document.listener)
    until(envoy.rejected, what="the refusal")
    assert statuses(envoy) == (200, 200), "the old listener goes on"
    envoy.serve(Envoy(upstream.port).document.listener)
    until(lambda: is_guarded(envoy), what="the guard")


@pytest.mark.parametrize("fault", [without_module, without_v8, faulty], ids=lambda fault: fault.__name__)
def test_a_refused_filter_answers_until_it_is_repaired(fault, start, upstream, tmp_path):
    """With the guard's filter in ECDS and the gate in the listener, a first fault forwards nothing."""

    def discover(document):
        fault(document)
        document.discover_guard(tmp_path / "ecds")
        document.guard_filter["config_discovery"]["config_source"]["initial_fetch_timeout"] = "1s"

    envoy = start(upstream, patch=discover)
    with upstream.nothing():
        assert statuses(envoy) == (500, 500)
    assert envoy.stats("config_fail")["extension_config_discovery.http_filter.webhook_guard.config_fail"] > 0


def accepts(envoy, secret: str) -> bool:
    with contextlib.suppress(Closed, OSError):
        return client.post(envoy.port, "/webhook", default(secret, BODY), BODY).status == 200
    return False


def test_a_variable_in_the_configuration_changes_since_envoy_1_38(serve, upstream):
    """Older Envoys keep the environment with which the `vm_id` began."""

    def holding(secret):
        def patch(document):
            document.guard["vm_config"]["environment_variables"] = {"key_values": {"WEBHOOK_SECRET": secret}}

        return patch

    envoy = serve(upstream, patch=holding("before"))
    assert accepts(envoy, "before")
    before = envoy.updated()
    envoy.serve(Envoy(upstream.port, patch=holding("after")).document.listener)
    until(lambda: envoy.updated() > before, what="the update")
    if version() >= (1, 38):
        until(lambda: in_both_workers(lambda: accepts(envoy, "after")), what="the new secret")
    else:
        until(envoy.exchanged, what="the end of the old filter chain")
        assert in_both_workers(lambda: accepts(envoy, "before")) and not accepts(envoy, "after")


@pytest.fixture
def modules():
    """A port where a server has the module."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=MODULE.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def remote(port: int, digest: str):
    """Lets Envoy fetch the module from this port."""

    def patch(document):
        document.add_cluster("modules", port)
        document.guard["vm_config"]["code"] = {
            "remote": {
                "http_uri": {"uri": f"http://modules/{MODULE.name}", "cluster": "modules", "timeout": "5s"},
                "sha256": digest,
            }
        }

    return patch


def test_a_remote_module_is_fetched(modules, start, upstream):
    envoy = start(upstream, patch=remote(modules, hashlib.sha256(MODULE.read_bytes()).hexdigest()))
    assert statuses(envoy) == (401, 200)
    assert "Wasm remote code fetch is unstable" in envoy.log()


@pytest.mark.parametrize("fault", ["wrong digest", "no server"])
def test_a_remote_module_that_cannot_be_fetched_forwards_nothing(fault, modules, start, upstream):
    port = modules if fault == "wrong digest" else free_ports(1)[0]
    envoy = start(upstream, patch=remote(port, "0" * 64))
    with upstream.nothing():
        assert statuses(envoy) == (503, 503)
    assert "Plugin configured to fail closed failed to load" in envoy.log()
