"""The version and the commit of the module, where users look for them."""

from __future__ import annotations

import copy
import hashlib
import re
import subprocess
import threading
import time

import pytest

from harness import client, command, version
from harness.envoy import MODULE, ROOT, Envoy, write_discovered
from harness.full_config import endpoint
from harness.polling import in_both_workers, until
from harness.upstream import Upstream

OWN = version.record(MODULE.read_bytes())["version"]
NEXT, AFTER = "9.0.1", "9.1.0"
GENERATION = "wasmcustom.webhook_guard_configuration_generation"


def configuration(number: int = 0) -> dict:
    """The endpoint shows which update a worker has. Other paths pass without a check."""
    return {"environment": "test", "endpoints": [endpoint(f"e{number}")], "unmatched": {"pass": ["/app/"]}}


def reported(envoy) -> set:
    """The versions that the metric reports. Envoy may keep the gauge of another one, with the value 0."""
    found = envoy.stats("webhook_guard_build_info")
    commit = version.commit(MODULE.read_bytes())
    prefix = f"wasmcustom.webhook_guard_build_info.commit={commit}.version="
    assert all(name.startswith(prefix) and value in (0, 1) for name, value in found.items()), found
    return {name[len(prefix) :] for name, value in found.items() if value}


def guard_log(envoy) -> list:
    """The lines that the guard logged, without repetitions by other threads."""
    lines = [line.partition("] wasm log ")[2].partition(": ")[2] for line in envoy.log().splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


@pytest.fixture
def exchange(tmp_path):
    """Gives a guard another module and configuration, and waits until both workers have them."""
    numbers = iter(range(1, 100))

    def exchange(envoy, file, module: bytes) -> None:
        number = next(numbers)
        (tmp_path / f"{number}.wasm").write_bytes(module)
        code = {"local": {"filename": str(tmp_path / f"{number}.wasm")}}
        envoy.discover(file, configuration(number), code=code)
        path = f"/e{number}"
        until(lambda: in_both_workers(lambda: client.post(envoy.port, path, [], b"{}").status == 401), what=path)

    return exchange


def test_a_section_of_the_module_has_the_version_and_the_commit():
    found = version.record(MODULE.read_bytes())
    assert found.keys() == {"version", "commit", "modified"}
    (package,) = re.findall(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert found["version"] == package
    is_clone = subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True, timeout=60).returncode == 0
    assert re.fullmatch("[0-9a-f]{40}", found["commit"]) if is_clone else found["commit"] is None
    assert found["modified"] in (True, False)


def test_the_command_prints_what_a_module_contains():
    module = MODULE.read_bytes()
    printed = command.run("version", MODULE, "--format", "json")
    wanted = {**version.record(module), "bytes": len(module), "sha256": hashlib.sha256(module).hexdigest(), "crates": None}
    assert (printed.status, printed.json()) == (0, wanted)


def test_the_first_log_line_has_version_and_commit(start, upstream):
    """Also before the warnings about the configuration."""
    warned = {**configuration(), "endpoints": [endpoint("orders", allow=["0.0.0.0/0"])]}
    first, *others = guard_log(start(upstream, warned))
    assert first == f'webhook-guard {version.text(MODULE.read_bytes())}: 1 endpoint, environment "test"'
    assert [line for line in others if "endpoints[0].allow" in line]


def test_a_refused_configuration_is_logged_after_the_version(upstream):
    """An older version refuses the fields of a newer one."""
    envoy = Envoy(upstream.port, {**configuration(), "field_of_the_next_version": True})
    assert envoy.start_refused() == 1
    first, fault, *_ = guard_log(envoy)
    assert first == f"webhook-guard {version.text(MODULE.read_bytes())}: the configuration has 1 error"
    assert fault.startswith("webhook-guard: configuration refused: field_of_the_next_version: ")


class TestMetric:
    def test_its_labels_are_version_and_commit(self, envoy):
        labels = 'commit="{}",version="{}"'.format(*version.labels(MODULE.read_bytes()))
        lines = [line for line in envoy.prometheus().splitlines() if line.startswith("webhook_guard_build_info")]
        assert lines == [f"webhook_guard_build_info{{{labels}}} 1"]

    def test_after_an_exchange_only_the_new_version_is_reported(self, upstream, exchange):
        """Upgrades and a rollback, also to a version that this Envoy had before."""
        envoy = Envoy(upstream.port, configuration())
        file = envoy.document.discover_guard(envoy.folder / "watched")
        with envoy:
            assert reported(envoy) == {OWN}
            exchange(envoy, file, version.with_version(NEXT))
            assert reported(envoy) == {NEXT}
            exchange(envoy, file, version.with_version(AFTER))
            assert reported(envoy) == {AFTER}
            exchange(envoy, file, MODULE.read_bytes())
            assert reported(envoy) == {OWN}

    def test_a_replaced_module_does_not_report_itself_again(self, exchange):
        """The old module runs until its last request ends, and sets its gauges ten times a second."""
        is_over = threading.Event()
        with Upstream(on_request=lambda each: each.path != "/app/held" or is_over.wait(60)) as upstream:
            envoy = Envoy(upstream.port, configuration())
            file = envoy.document.discover_guard(envoy.folder / "watched")
            with envoy:
                held = threading.Thread(target=client.post, args=(envoy.port, "/app/held"))
                held.start()
                try:
                    until(lambda: envoy.stats("upstream_rq_active")["cluster.upstream.upstream_rq_active"], what="a request")
                    exchange(envoy, file, version.with_version(NEXT))
                    assert reported(envoy) == {NEXT}
                    time.sleep(2)
                    assert reported(envoy) == {NEXT}
                finally:
                    is_over.set()
                    held.join()
            assert held.is_alive() is False

    def test_a_guard_with_another_root_replaces_the_old_one(self, upstream):
        """The old module does not find the new one in shared data, but Envoy removes the gauge with the module."""
        envoy = Envoy(upstream.port, configuration())
        file = envoy.document.discover_guard(envoy.folder / "watched")
        with envoy:
            assert reported(envoy) == {OWN}
            (envoy.folder / "next.wasm").write_bytes(version.with_version(NEXT))
            envoy.document.guard["root_id"] = "another"
            envoy.document.guard["vm_config"]["code"]["local"]["filename"] = str(envoy.folder / "next.wasm")
            write_discovered(file, envoy.document.guard_config)
            until(lambda: reported(envoy) == {NEXT}, what="the new module alone")

    def test_a_refused_module_changes_nothing(self, upstream):
        envoy = Envoy(upstream.port, configuration())
        file = envoy.document.discover_guard(envoy.folder / "watched")
        with envoy:
            (envoy.folder / "next.wasm").write_bytes(version.with_version(NEXT))
            code = {"local": {"filename": str(envoy.folder / "next.wasm")}}
            envoy.discover(file, {"endpoints": []}, code=code)
            failed = "extension_config_discovery.http_filter.webhook_guard.config_fail"
            until(lambda: envoy.stats("config_fail")[failed], what="the refusal")
            assert reported(envoy) == {OWN}

    @pytest.mark.parametrize("vm_id", ["webhook_guard", "second"])
    def test_two_guards_may_have_two_versions(self, vm_id, upstream, exchange, tmp_path):
        """A version is in use until the last guard has another."""
        (tmp_path / "next.wasm").write_bytes(version.with_version(NEXT))

        def add_second(document) -> None:
            typed = copy.deepcopy(document.guard_config)
            typed["config"]["root_id"] = "second"
            typed["config"]["vm_config"]["vm_id"] = vm_id
            typed["config"]["vm_config"]["code"]["local"]["filename"] = str(tmp_path / "next.wasm")
            document.filters.insert(-1, {"name": "second", "typed_config": typed})

        envoy = Envoy(upstream.port, configuration(), patch=add_second)
        file = envoy.document.discover_guard(envoy.folder / "watched")
        with envoy:
            until(lambda: reported(envoy) == {OWN, NEXT}, what="both versions")
            exchange(envoy, file, version.with_version(NEXT))
            until(lambda: reported(envoy) == {NEXT}, what="one version")
            exchange(envoy, file, version.with_version(AFTER))
            until(lambda: reported(envoy) == {NEXT, AFTER}, what="both versions")
