"""The filter of `calls.py` makes the calls that a row names, and copies of modules lack what they should lack."""

from __future__ import annotations

from collections import Counter

import calls
import load
import pytest
from calls import KINDS, NOTHING, Bench, headers_of

from harness import wasm, wasm_trace
from harness.client import post


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    calls.build()
    return Bench(tmp_path_factory.mktemp("bench"), rounds=1, seconds=0.01)


@pytest.fixture(scope="module")
def traced(bench):
    with bench.stage({"calls": calls.other_module(calls.CALLS, "hold")}) as running:
        (envoy,) = running.values()
        wasm_trace.start(envoy)
        yield envoy


@pytest.fixture(scope="module")
def nothing(traced):
    return made(traced, NOTHING)


@pytest.mark.parametrize("name", [each for each, (call, _) in KINDS.items() if call])
def test_a_request_makes_the_calls_of_its_row(traced, nothing, name):
    extra = made(traced, name) - nothing
    del extra[wasm_trace.ALLOCATE]
    _, times = KINDS[name]
    assert set(extra.values()) == {times}
    assert any(name.startswith(each) for each in extra), extra


def made(envoy, name: str):
    """How often one request calls each function."""
    wasm_trace.wait(envoy)
    since = envoy.log_size()
    size, headers = headers_of(name)
    assert post(envoy.port, load.PATH, headers, b"x" * size).status == 200
    return sum((each.calls for each in wasm_trace.callbacks(envoy, since)), Counter())


def test_a_module_has_the_callbacks_that_were_chosen(bench):
    sections = wasm.read(bench.exporting(("log", "delete")).read_bytes())
    exports = wasm.functions(sections[wasm.EXPORT_SECTION])
    assert {each for each in exports if each.startswith("proxy_on_")} - set(calls.ALWAYS) == {"proxy_on_log", "proxy_on_delete"}
