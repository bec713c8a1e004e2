"""Every configuration in envoy/, as it is: each is accepted, listens on loopback, and keeps the guard on."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
import yaml
from harness.edge import FOLDER, VARIANTS, variant
from harness.envoy import MODULE, ROOT, binary

NAMES = [file.name for file in sorted(FOLDER.iterdir()) if file.suffix in (".yaml", ".patch")]
# What stands before the guard, and what after it. A decompressor or a rewriter before it would change
# what was signed, and a router before it would be the end of all checks.
ORDER = {
    "envoy.yaml": ["envoy.filters.http.set_filter_state", "webhook_guard", "envoy.filters.http.router"],
    "*": ["envoy.filters.http.set_filter_state", "shield", "webhook_guard", "limit", "envoy.filters.http.router"],
}


def text(name: str) -> str:
    """A shipped configuration; a variant is edge.yaml with its changes."""
    if name.endswith(".patch"):
        return variant(name[len("edge-") : -len(".patch")])
    return (FOLDER / name).read_text()


def everything(value):
    """Every mapping in a configuration, however deep."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from everything(each)


def test_there_are_some():
    assert len(NAMES) >= 7
    assert len(VARIANTS) == 6


@pytest.mark.parametrize("name", NAMES)
class TestEach:
    def test_envoy_accepts_it_without_a_warning(self, name, tmp_path):
        file = tmp_path / "config.yaml"
        file.write_text(text(name))
        command = [binary(), "--mode", "validate", "-c", str(file), "-l", "warning"]
        environment = {**os.environ, "WEBHOOK_SECRET": "some-secret-for-validation"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "OK" in done.stdout
        assert [line for line in done.stderr.splitlines() if line.strip()] == []

    def test_it_listens_on_the_loopback_interface_alone(self, name):
        config = yaml.safe_load(text(name))
        listening = [config["admin"], *config["static_resources"]["listeners"]]
        assert {each["address"]["socket_address"]["address"] for each in listening} == {"127.0.0.1"}

    def test_every_route_passes_the_guard_in_its_place(self, name):
        """There is one chain of filters, and nothing switches one of them off."""
        config = yaml.safe_load(text(name))
        (manager,) = [each for each in everything(config) if "http_filters" in each]
        filters = [each["name"] for each in manager["http_filters"]]
        assert filters == ORDER.get(name, ORDER["*"])
        for each in everything(config):
            assert "disabled" not in each and "typed_per_filter_config" not in each, each

    def test_the_guard_fails_closed(self, name):
        config = yaml.safe_load(text(name))
        (guard,) = [each for each in everything(config) if "root_id" in each]
        assert guard["allow_on_headers_stop_iteration"] is True
        assert guard["failure_policy"] == "FAIL_RELOAD"

    def test_what_envoy_holds_is_in_step(self, name):
        """Every limit of a held body is above the guard's own, by default 1 MiB."""
        numbers = re.findall(r"(?:buffer_limit_bytes|window_size|body_buffer_limit): (\d+)", text(name))
        assert len(numbers) == 5
        # The upstream's buffer holds answers.
        assert sorted(map(int, numbers)) == [65536] + 4 * [1114112]


def test_the_module_is_small():
    assert MODULE.stat().st_size < 460_800
