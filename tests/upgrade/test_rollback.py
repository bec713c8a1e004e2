"""This tree's configurations with the last release's module: the same verdicts, or a refusal that names the field."""

from __future__ import annotations

import copy
import re

import pytest

from harness import last_release
from harness.envoy import MODULE
from harness.full_config import ACME, endpoint

from differences import covers, differences, intended, shown
from guards import guard, guards, signed
from requests_of import Request
from trial import observe

# These are tried even if they are as they were, so that each run has a guard that serves and one that is refused.
ALWAYS = {"kinds", "refused"}
SECRET = {"WEBHOOK_SECRET": "the-secret-of-all-orders"}
LATER = "of_a_later_release"
# Metrics count more guards in one of two trials, and test_verdicts.py compares them.
NO_METRICS = {"names": [], "counted": {}}
# The path of a planted field, and the configuration that has the field.
PLANTED = {
    LATER: {LATER: 1, "endpoints": [endpoint("orders")]},
    f"endpoints[0].{LATER}": {"endpoints": [endpoint("orders", **{LATER: "x"})]},
    f"endpoints[0].match.{LATER}": {"endpoints": [{**endpoint("orders"), "match": {"path": "/orders", LATER: "x"}}]},
    f"endpoints[0].secrets[0].{LATER}": {
        "endpoints": [endpoint("orders", {"version": "v1", "env": "WEBHOOK_SECRET", LATER: True})]
    },
    f"endpoints[0].replay.{LATER}": {"endpoints": [endpoint("orders", replay={"window": "1h", LATER: "x"})]},
    f"endpoints[0].signature.{LATER}": {
        "environment": "test", "endpoints": [{**ACME, "signature": {**ACME["signature"], LATER: "x"}}]
    },
    "endpoints[0].provider": {"endpoints": [endpoint("orders", provider="of-a-later-release")]},
    "endpoints[0].mode": {"endpoints": [endpoint("orders", mode="of-a-later-release")]},
    "endpoints[0].signature.algorithm": {
        "endpoints": [endpoint("orders", signature={"header": "X-A", "algorithm": "hmac-sha3"})]
    },
}


def planted() -> dict:
    requests = [signed("orders"), signed("orders", secret="unknown-secret-of-none"), Request("/orders"), Request("/elsewhere")]
    return {name(path): guard(copy.deepcopy(each), SECRET, requests) for path, each in PLANTED.items()}


def name(path: str) -> str:
    return "planted-" + re.sub(r"[^a-z0-9]+", "-", path)


@pytest.fixture(scope="module")
def changed():
    """The guards that are not as in the last release. The other tests compare the rest."""
    kept = last_release.guards()
    return {name: each for name, each in guards().items() if name in ALWAYS or kept.get(name) != each}


@pytest.fixture(scope="module")
def old(changed, tmp_path_factory):
    """The verdicts of the last release, also with fields that it does not know."""
    folder = tmp_path_factory.mktemp("old")
    return observe({**changed, **planted()}, last_release.module(folder), folder)


@pytest.fixture(scope="module")
def new(changed, tmp_path_factory):
    """The verdicts of this tree."""
    return observe(changed, MODULE, tmp_path_factory.mktemp("new"))


def test_a_configuration_that_the_last_release_accepts_has_the_verdicts_of_this_tree(old, new):
    """Otherwise, a rollback of the module alone would accept or reject other requests."""
    served = [each for each in new["guards"] if not old["guards"][each]["refused"]]
    both = [{"guards": {each: side["guards"][each] for each in served}, "metrics": NO_METRICS} for side in (old, new)]
    found = differences(*both)
    unlisted = {key: places for key, places in found.items() if not any(covers(each, *key) for each in intended())}
    assert served and not unlisted, shown(unlisted)


def test_a_refused_configuration_forwards_nothing(old):
    """The filter has no configuration, so Envoy answers 500."""
    refused = {each: guard for each, guard in old["guards"].items() if guard["refused"]}
    assert refused
    for guard_name, each in refused.items():
        assert {(verdict["status"], verdict["upstream"]) for verdict in each["verdicts"]} == {(500, None)}, guard_name


@pytest.mark.parametrize("path", PLANTED)
def test_a_refusal_names_the_field_that_the_last_release_does_not_know(path, old):
    faults = old["guards"][name(path)]["refused"]
    assert [fault for fault in faults if fault.startswith(f"{path}: ")], faults
