"""The counts of code: which lines of a dump count, and a real request."""

from __future__ import annotations

from pathlib import Path

import contestants
import footprint
import load
from contestants import FLOOR, GUARD

DUMP = """\
positions: instr line
events: Ir

ob=(1) /usr/bin/envoy
fn=(1) first
0x1000 5 100
+4 * 100
cob=(2) /usr/lib/libc.so.6
cfn=(2) second
calls=100 0x40
+4 * 5000
+60 6 100
ob=(2)
fn=(2)
0x40 1 100
ob=(3) ???
fn=(3) third
0x7f0000 0 100
+64 0 20
-32 0 100
"""


def test_a_dump_has_each_instruction_by_its_place():
    assert footprint.instructions(DUMP) == {
        ("/usr/bin/envoy", 0x1000): 100,
        ("/usr/bin/envoy", 0x1004): 100,
        ("/usr/bin/envoy", 0x1044): 100,
        ("/usr/lib/libc.so.6", 0x40): 100,
        ("", 0x7F0000): 100,
        ("", 0x7F0040): 20,
        ("", 0x7F0020): 100,
    }


def test_lines_and_pages_are_those_of_most_requests():
    own, compiled = footprint.summary(DUMP, 100, files=[])
    assert own == footprint.Footprint(instructions=4, lines=3, pages=2)
    assert compiled == footprint.Footprint(instructions=2, lines=1, pages=1)


def test_code_at_an_address_of_a_file_is_not_compiled():
    own, compiled = footprint.summary(DUMP, 100, files=[range(0x7F0000, 0x800000)])
    assert (own.lines, compiled.lines) == (4, 0)


def test_the_guard_runs_compiled_code_and_the_floor_does_not(tmp_path):
    with load.Upstream() as upstream:
        floor, guard = (
            footprint.footprint(contestants.ALL[name], upstream.port, Path(tmp_path), warm_up=10, counted=5) for name in (FLOOR, GUARD)
        )
    assert floor[0].lines > 1000 and floor[1].lines == 0
    assert guard[0].lines > floor[0].lines
    assert guard[1].lines > 500 and guard[1].instructions > 10_000
