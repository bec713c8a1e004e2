"""Secrets from their real sources, files and SDS, with the shipped configurations."""

from __future__ import annotations

import os

import pytest
import yaml

from harness import client
from harness.edge import EDGE, Edge
from harness.envoy import SHIPPED, Envoy
from harness.full_config import signed
from harness.polling import in_both_workers, until
from harness.rotating import DECOY, DEMO, ROTATING, Rotating, replace
from harness.secret_sources import Sources
from harness.verdict import assert_answer, verdict

BODY = b'{"order": 42}'
FIRST = "the-first-value-of-this-secret"
SECOND = "the-second-value-of-this-secret"
THIRD = "the-third-value-of-this-secret"


def status(envoy: Envoy, key: str) -> int:
    return client.post(envoy.port, "/webhook", signed(BODY, key), BODY).status


def settles(envoy: Envoy, key: str, wanted: int) -> None:
    """Waits until both workers answer a request that is signed by `key` like this."""
    until(lambda: in_both_workers(lambda: status(envoy, key) == wanted), what=f"{wanted} for {key}")


def assert_not_shown(envoy: Envoy, values) -> None:
    until(envoy.access_lines)
    shown = envoy.log() + "".join(map(str, envoy.access_lines())) + envoy.prometheus()
    shown += envoy.get("/config_dump")
    for value in values:
        assert value not in shown, "a secret is shown"


@pytest.fixture(params=["file", "sds"])
def sources(request):
    return Sources(request.param, FIRST, FIRST)


class TestPatch:
    @pytest.fixture
    def envoy(self, sources, upstream):
        with sources.envoy(upstream.port) as running:
            yield running
            assert_not_shown(running, sources.values)

    def test_each_secret_follows_its_file(self, sources, envoy):
        assert (status(envoy, FIRST), status(envoy, SECOND)) == (200, 401)
        sources.put("b", SECOND)
        settles(envoy, SECOND, 200)
        with verdict(envoy, "orders", "accepted", "accepted") as seen:
            assert status(envoy, FIRST) == 200
        assert seen["access"]["secret_version"] == "a"
        with verdict(envoy, "orders", "accepted", "accepted") as seen:
            assert status(envoy, SECOND) == 200
        assert seen["access"]["secret_version"] == "b"
        sources.put("a", THIRD)
        settles(envoy, FIRST, 401)
        assert (status(envoy, SECOND), status(envoy, THIRD)) == (200, 200)

    def test_a_secret_that_goes_missing_is_a_host_error(self, sources, envoy):
        for nothing in ("", "-", " "):
            sources.put("a", nothing)
            sources.put("b", SECOND)
            settles(envoy, FIRST, 500)
            assert status(envoy, SECOND) == 200
            with verdict(envoy, "orders", "denied", "host_error"):
                response = client.post(envoy.port, "/webhook", signed(BODY, nothing), BODY)
                assert_answer(response, "host_error")
            sources.put("a", FIRST)
            settles(envoy, FIRST, 200)
        sources.values -= {"", "-", " "}

    def test_a_request_ends_with_the_secret_that_it_began_with(self, sources, envoy):
        first, *rest = client.chunked("/webhook", signed(BODY, FIRST), [BODY[:5], BODY[5:]])
        with client.Client(envoy.port) as connection:
            connection.send(first, rest[0], pause=0.05)
            for name in "ab":
                sources.put(name, SECOND)
            settles(envoy, FIRST, 401)
            assert connection.ask(*rest[1:]).status == 200

    def test_it_fits_the_production_configuration(self, sources, upstream):
        with sources.edge(upstream.port) as edge:
            assert edge.post("/webhook", signed(BODY, FIRST), BODY).status == 200
            sources.put("a", SECOND)
            until(lambda: edge.post("/webhook", signed(BODY, SECOND), BODY).status == 200)
            assert edge.post("/webhook", signed(BODY, THIRD), BODY).status == 401
            assert_not_shown(edge, sources.values)

    def test_only_one_of_envoys_loggers_shows_it(self, sources, upstream):
        """envoy/README.md names the logger: `config`, at level debug. If this test fails, Envoy has changed."""
        with sources.envoy(upstream.port) as envoy:
            for level, is_shown in (("info", False), ("debug", True)):
                for setting in ("level=trace", f"config={level}"):
                    envoy.get(f"/logging?{setting}", method="POST")
                sources.put("a", SECOND)
                settles(envoy, SECOND, 200)
                assert (SECOND in envoy.log()) == is_shown
                sources.put("a", THIRD)
                settles(envoy, THIRD, 200)


class TestFile:
    """Files that are missing, deleted or empty."""

    @pytest.fixture
    def sources(self):
        return Sources("file", FIRST, FIRST)

    @pytest.fixture
    def envoy(self, sources, upstream):
        with sources.envoy(upstream.port) as running:
            yield running

    def test_kubernetes_swaps_all_of_them_by_a_link(self, sources, upstream):
        folder = sources.folder
        for name in ("orders-a", "orders-b"):
            (folder / name).unlink()
            (folder / name).symlink_to(f"..data/{name}")
        self.swap(folder, "1", FIRST)
        with sources.envoy(upstream.port) as envoy:
            for number, value in enumerate((SECOND, THIRD, FIRST), 2):
                self.swap(folder, str(number), value)
                settles(envoy, value, 200)

    def swap(self, folder, number: str, value: str) -> None:
        """Swaps the files as the kubelet does for a mounted secret."""
        (folder / f"..{number}").mkdir()
        for name in ("orders-a", "orders-b"):
            (folder / f"..{number}" / name).write_text(value)
        (folder / "..new").symlink_to(f"..{number}")
        os.replace(folder / "..new", folder / "..data")

    def test_one_line_break_is_not_part_of_the_secret(self, sources, envoy):
        for end in ("", "\n", "\r\n"):
            replace(sources.file("a"), SECOND + end)
            settles(envoy, SECOND, 200)
            replace(sources.file("a"), THIRD)
            settles(envoy, SECOND, 401)
        replace(sources.file("a"), SECOND + "\n\n")
        settles(envoy, SECOND + "\n", 200)
        assert status(envoy, SECOND) == 401

    def test_one_that_is_deleted_changes_nothing(self, sources, envoy):
        sources.file("a").unlink()
        sources.put("b", SECOND)
        settles(envoy, SECOND, 200)
        assert status(envoy, FIRST) == 200

    def test_without_it_envoy_does_not_start(self, sources, upstream):
        sources.file("a").unlink()
        assert sources.envoy(upstream.port).start_refused() == 1


class TestRotating:
    def test_it_starts_as_shipped(self, upstream):
        with Rotating(upstream.port) as envoy:
            assert status(envoy, DEMO) == 200
            with verdict(envoy, "orders", "denied", "secret_revoked"):
                assert status(envoy, DECOY) == 401
            assert status(envoy, FIRST) == 401
            assert_not_shown(envoy, envoy.values)
        for argument in envoy.arguments:
            assert argument in ROTATING.read_text()

    def test_production_can_use_its_filters(self, upstream):
        """edge.yaml with the filters of rotating.yaml instead of its own."""
        rotating = Rotating(upstream.port)
        names = ("envoy.filters.http.set_filter_state", "webhook_guard")
        live = {each["name"]: each for each in rotating.document.filters if each["name"] in names}

        def patch(document):
            document.filters[:] = [live.get(each["name"], each) for each in document.filters]

        with Edge(upstream.port, text=EDGE.read_text(), patch=patch) as edge:
            assert edge.post("/webhook", signed(BODY, DEMO), BODY).status == 200
            rotating.change_guard("mode: enforce", "mode: disabled")
            until(lambda: edge.post("/webhook", signed(BODY, DEMO), BODY).status == 503)

    def test_it_is_the_plain_one_except_for_two_filters(self):
        """rotating.yaml differs from envoy.yaml in two filters alone."""
        plain, rotating = (yaml.safe_load(file.read_text()) for file in (SHIPPED, ROTATING))
        for each in (plain, rotating):
            filters = each["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
            filters = filters["typed_config"]["http_filters"]
            peer = filters[0]["typed_config"]["on_request_headers"][-1]
            assert peer["object_key"] == "webhook_guard.peer"
            assert filters.pop(2)["name"] == "webhook_guard"
            filters[0] = peer
        assert rotating == plain
