"""The memory of the guard, when the last release's module and this tree's change places."""

from __future__ import annotations

import http.server
import threading

import pytest

from harness import client, last_release
from harness.envoy import MODULE, SECRET, Envoy
from harness.exchanges import exchange
from harness.full_config import endpoint, signed
from harness.planter import planting
from harness.polling import in_both_workers, until
from harness.upstream import Upstream

# `make soak` has 100 of them, in each supported Envoy.
EXCHANGES = 6
ORDERS = endpoint("orders", path="/webhook", identity="message", replay={"window": "24h"})
# A layout number that no release has, and the bytes of two records.
UNKNOWN_LAYOUT = b"\xf0" + b"\x01" * 4 + b"\x02" * 56


@pytest.mark.parametrize("how", ["ecds", "lds"])
def test_no_delivery_is_lost_or_repeated_while_the_modules_change_places(how, tmp_path):
    print(exchange(how, EXCHANGES, tmp_path))


def configuration(number: int, endpoints=(ORDERS,)) -> dict:
    return {"endpoints": [*endpoints, endpoint("update", path=f"/update/{number}")]}


@pytest.fixture
def upstream_alone():
    with Upstream() as upstream:
        yield upstream


class Changing:
    """An Envoy whose guard is discovered: first with the last release's module."""

    def __init__(self, upstream_port: int, modules: list, endpoints=(ORDERS,)) -> None:
        self._endpoints = endpoints
        self.envoy = Envoy(upstream_port, configuration(0, endpoints))
        self.envoy.document.guard["vm_config"]["code"]["local"]["filename"] = str(modules[0])
        self._modules = modules
        self._file = self.envoy.document.discover_guard(self.envoy.folder / "watched")

    def exchange(self, number: int, **vm_config) -> None:
        """Lets the next module take over."""
        code = {"local": {"filename": str(self._modules[number % len(self._modules)])}}
        self.envoy.discover(self._file, configuration(number, self._endpoints), code=code, **vm_config)
        until(lambda: in_both_workers(lambda: self._has(number)), what=f"update {number}")

    def _has(self, number: int) -> bool:
        return client.post(self.envoy.port, f"/update/{number}", [], b"{}").status == 401

    def deliver(self, body: bytes) -> int:
        return client.post(self.envoy.port, "/webhook", signed(body), body).status


@pytest.fixture
def changing(upstream_alone, tmp_path):
    found = Changing(upstream_alone.port, [last_release.module(tmp_path), MODULE])
    with found.envoy:
        yield found


def test_the_other_module_rejects_a_copy(changing):
    """In both directions: an upgrade, and its rollback."""
    assert changing.deliver(b"old") == 200
    changing.exchange(1)
    assert changing.deliver(b"old") == 409
    assert changing.deliver(b"new") == 200
    changing.exchange(2)
    assert (changing.deliver(b"old"), changing.deliver(b"new")) == (409, 409)


def test_another_vm_id_starts_without_a_memory(changing):
    assert changing.deliver(b"old") == 200
    changing.exchange(1, vm_id="webhook_guard_2")
    assert (changing.deliver(b"old"), changing.deliver(b"old")) == (200, 409)


def test_another_process_starts_without_a_memory(changing, upstream_alone, tmp_path):
    assert changing.deliver(b"old") == 200
    second = Changing(upstream_alone.port, [MODULE])
    with second.envoy:
        assert (second.deliver(b"old"), second.deliver(b"old")) == (200, 409)


def test_counters_and_the_generation_go_on(changing):
    """The counters belong to Envoy, and the generation is in its shared data."""
    generation = "wasmcustom.webhook_guard_configuration_generation"
    assert changing.deliver(b"old") == 200
    before = changing.envoy.stats("wasmcustom")[generation]
    changing.exchange(1)
    assert changing.deliver(b"new") == 200
    assert changing.envoy.count("orders", "accepted", "accepted") == 2
    assert changing.envoy.stats("wasmcustom")[generation] == before + 1


class Published(http.server.BaseHTTPRequestHandler):
    """Answers each request with a list of addresses, and counts them."""

    fetches = 0

    def do_GET(self) -> None:
        Published.fetches += 1
        body = b'{"hooks": ["127.0.0.0/8"]}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


def test_a_published_list_is_not_fetched_again(upstream_alone, tmp_path):
    """A sender behind the list is accepted at once by the other module."""
    source = {"cluster": "sender", "authority": "sender.test", "path": "/list", "pointer": "/hooks"}
    listed = {"endpoints": [endpoint("orders", path="/webhook", allow_from=[source])]}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Published) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        changing = Changing(upstream_alone.port, [last_release.module(tmp_path), MODULE], listed["endpoints"])
        changing.envoy.document.add_cluster("sender", server.server_port)
        with changing.envoy:
            until(lambda: in_both_workers(lambda: changing.deliver(b"old") == 200), what="the list")
            fetches = Published.fetches
            changing.exchange(1)
            assert {changing.deliver(b"new") for _ in range(8)} == {200}
            assert Published.fetches == fetches
        server.shutdown()


def test_a_configuration_that_the_last_release_refuses_changes_nothing_on_a_rollback(changing):
    """The module that served goes on, and the memory with it."""
    changing.exchange(1)
    assert changing.deliver(b"new") == 200
    later = {"endpoints": [{**ORDERS, "of_a_later_release": True}]}
    code = {"local": {"filename": str(changing._modules[0])}}
    changing.envoy.discover(changing._file, later, code=code)
    until(lambda: "endpoints[0].of_a_later_release" in changing.envoy.log(), what="the refusal")
    assert (changing.deliver(b"new"), changing.deliver(b"newer")) == (409, 200)
    assert client.post(changing.envoy.port, "/webhook", [], b"x").status == 401


def test_a_hot_restart_to_the_new_module_starts_without_a_memory(upstream_alone, tmp_path):
    """Parent and child have a memory each, so a copy is accepted once more."""
    parent = Changing(upstream_alone.port, [last_release.module(tmp_path)])
    parent.envoy.identity = ("--use-dynamic-base-id", "--base-id-path", str(tmp_path / "base"))
    child = Changing(upstream_alone.port, [MODULE])
    with parent.envoy:
        assert parent.deliver(b"old") == 200
        base = (tmp_path / "base").read_text().strip()
        child.envoy.identity = ("--base-id", base, "--restart-epoch", "1", "--parent-shutdown-time-s", "1")
        with child.envoy:
            assert (child.deliver(b"old"), child.deliver(b"old")) == (200, 409)
            assert client.post(child.envoy.port, "/webhook", [], b"x").status == 401
            until(lambda: parent.envoy.process.poll() is not None, what="the end of the parent")
            assert child.deliver(b"new") == 200


def test_records_of_an_unknown_layout_count_as_none(upstream_alone, tmp_path):
    """A genuine delivery is accepted. The guard then remembers it, in a layout that it knows."""
    keys = [f"webhook_guard/webhook_guard/replay/orders/{bucket}" for bucket in range(256)]
    file = tmp_path / "planter.wasm"
    file.write_bytes(planting({key.encode(): UNKNOWN_LAYOUT for key in keys}))
    envoy = Envoy(upstream_alone.port, configuration(0), patch=lambda document: add_planter(document, file))
    with envoy:
        assert "planted" in envoy.log()
        for body in (b"one", b"two", b"three"):
            statuses = [client.post(envoy.port, "/webhook", signed(body, SECRET), body).status for _ in range(3)]
            assert statuses == [200, 409, 409]


def add_planter(document, file) -> None:
    """Adds a filter that shares the guard's data. Envoy configures it after the guard."""
    config = {
        "name": "planter", "root_id": "planter",
        "vm_config": {**document.guard["vm_config"], "code": {"local": {"filename": str(file)}}},
    }
    typed = {"@type": document.guard_config["@type"], "config": config}
    place = document.filters.index(document.guard_filter) + 1
    document.filters.insert(place, {"name": "planter", "typed_config": typed})
