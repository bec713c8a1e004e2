"""The benchmarks of edge.yaml and of scale run, and show what they measure. No test looks at a time."""

from __future__ import annotations

import edge
import scale
import scale_held
import scale_memory

from harness.envoy import Envoy
from harness.upstream import Upstream

SHORT = ["--rounds", "1", "--seconds", "0.01"]


def rows(capsys) -> list:
    """The first cells of all rows that a benchmark has printed."""
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ")[0] for line in lines]


def test_each_part_of_edge_yaml_can_be_removed(capsys):
    edge.main(SHORT)
    assert {*rows(capsys)} >= {*edge.PARTS} - {edge.WHOLE}


def test_each_configuration_answers_as_expected(capsys):
    scale.main(SHORT)
    assert {*rows(capsys)} >= {*scale.GROUPS}


def test_the_memory_of_modules_is_found():
    with Upstream(on_request=lambda _: None) as upstream:
        for patch, pages in ((scale_memory.with_empty_module, 1), (lambda document: None, 16)):
            with Envoy(upstream.port, patch=patch) as envoy:
                sizes = scale_memory.linear_memories(envoy.process.pid)
                assert len(sizes) > envoy.workers
                assert all(size >= pages * 65_536 for size in sizes), sizes


def test_held_requests_are_measured(capsys, monkeypatch):
    monkeypatch.setattr(scale_held, "HELD", 40)
    monkeypatch.setattr(scale_held, "STREAMS", 20)
    scale_held.main()
    assert len(rows(capsys)) > len(scale_held.CASES)
