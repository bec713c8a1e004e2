"""The benchmark measures peers that verify, and its figures become a table and a picture. No test looks at a time."""

from __future__ import annotations

import dataclasses
import json
from xml.etree import ElementTree

import contestants
import edge
import picture
import pytest
from compare import KINDS, PROTOCOLS, Stage
from contestants import FLOOR, GUARD
from load import measure
from report import TITLES, Case, Results, Spread, ratio, verdict

ACCEPTED = Case("accepted", 1024, "HTTP/1.1")


@pytest.fixture(scope="module")
def stage():
    # At its start, each peer must accept a genuine request and reject others.
    with Stage(list(contestants.ALL.values())) as stage:
        yield stage


@pytest.fixture(scope="module")
def results(stage):
    cases = [Case(kind, 1024, protocol) for kind in KINDS for protocol in PROTOCOLS]
    return Results({case: stage.measure(case, rounds=1, seconds=0.01) for case in [*cases, dataclasses.replace(ACCEPTED, is_alone=True)]})


def test_every_peer_is_measured_in_every_case(results):
    for case, found in results.rounds.items():
        assert set(found) == set(contestants.ALL), case
        for rounds in found.values():
            assert all(value > 0 for each in rounds for value in dataclasses.astuple(each)), (case, rounds)


def test_a_part_of_edge_yaml_costs_the_difference(capsys):
    edge.show({"strip": [(50, 40), (52, 41), (51, 41)], "gate": [(50, 49)] * 3})
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert rows[2:] == ["| strip | 40.0 | 10.0 (10.0 to 10.5) | 20.0% |", "| gate | 49.0 | 1.0 (1.0 to 1.0) | 2.0% |"]


def test_a_peer_that_forwards_a_forgery_is_not_measured(stage):
    # Without the header that chooses its answer, the floor forwards all requests.
    forwarding = dataclasses.replace(contestants.ALL["signature"], name="forwards everything")
    with pytest.raises(AssertionError, match="forwards everything answers 200 to a request that is forged"):
        contestants.verify(forwarding, stage.running[FLOOR], choose=False)


def test_a_round_with_another_answer_fails(stage):
    loaded = dataclasses.replace(stage.load(ACCEPTED), status=401)
    envoy = stage.running[GUARD]
    with pytest.raises(AssertionError, match="not all answers are 401"):
        measure(loaded, envoy.port, envoy.pids(), 32, stage.folder)


def test_figures_survive_a_file(results):
    read = Results.of_json(json.loads(json.dumps(results.to_json())))
    assert read.rounds == results.rounds
    assert read.starts(ACCEPTED) == results.starts(ACCEPTED) == 1


def test_rounds_after_another_start_are_added(results):
    read = Results.of_json(results.to_json())
    read.add(ACCEPTED, results.rounds[ACCEPTED])
    assert read.starts(ACCEPTED) == 2
    assert read.rounds[ACCEPTED][GUARD] == 2 * results.rounds[ACCEPTED][GUARD]


def test_rounds_of_one_start_prove_little():
    ones, others = [30, 30, 30, 30, 60, 60, 60, 60], [20] * 8
    assert ratio(ones, others, starts=1).high <= 3
    found = ratio(ones, others, starts=2)
    # Each start alone has another ratio.
    assert (found.low, found.high) == (1.5, 3)


def test_a_target_within_the_spread_is_undecided():
    assert verdict(1.4, None) == "undecided"
    spreads = {Spread(1.2, 1.1, 1.3): "met", Spread(1.3, 1.2, 1.5): "undecided", Spread(1.6, 1.5, 1.7): "missed"}
    for spread, expected in spreads.items():
        assert verdict(1.4, spread) == expected


def test_a_ratio_is_that_of_the_costs_above_the_floor(results):
    row = results.rounds[ACCEPTED][FLOOR][0]
    costs = {FLOOR: 30, GUARD: 42, "signature": 38}
    made = {name: [dataclasses.replace(row, cpu=cost + noise) for noise in (0, 5, 9)] for name, cost in costs.items()}
    made = Results({ACCEPTED: made})
    assert made.ratio(ACCEPTED, GUARD, "signature").middle == pytest.approx(1.5)
    assert made.target_rows() == [
        "  MISSED     guard / signature-only wasm, 1 KiB, HTTP/1.1             at most 1.40, is 1.50 (1.50 to 1.50)"
    ]


def test_a_ratio_survives_rounds_whose_noise_is_larger_than_a_cost(results):
    row = results.rounds[ACCEPTED][FLOOR][0]
    noise = [0, 1, 2, 1, 0, -30, 1, 2, 40, 1, 2]
    costs = {FLOOR: [30] * len(noise), GUARD: [50] * len(noise), "signature": [40 + each for each in noise]}
    made = Results({ACCEPTED: {name: [dataclasses.replace(row, cpu=each) for each in found] for name, found in costs.items()}})
    found = made.ratio(ACCEPTED, GUARD, "signature")
    assert 1.6 < found.low <= found.middle <= found.high <= 2
    costs["signature"] = [30 + each for each in noise]
    made = Results({ACCEPTED: {name: [dataclasses.replace(row, cpu=each) for each in found] for name, found in costs.items()}})
    assert made.ratio(ACCEPTED, GUARD, "signature") is None


def test_the_page_and_the_picture_name_every_peer(results):
    page, drawn = results.page({"Date": "today"}, "costs.svg"), picture.draw(results)
    ElementTree.fromstring(drawn)
    for name in contestants.ALL:
        assert page.count(f"| {TITLES[name]} |") >= 1
        assert name == FLOOR or f">{TITLES[name]}<" in drawn
    assert page.count("| accepted, 1 KiB, HTTP/1.1 |") == 4
    for what, *_ in results.targets():
        assert page.count(f"| {what} |") == 1
