"""The guards of the last release keep their verdicts with this tree's module, except for the differences that are listed."""

from __future__ import annotations

import pytest

from harness import last_release
from harness.envoy import MODULE

from differences import changelog, covers, differences, intended, shown, unlisted
from trial import observe


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The differences between the verdicts of the last release and those of this tree."""
    folder = tmp_path_factory.mktemp("upgrade")
    return differences(last_release.verdicts(), observe(last_release.guards(), MODULE, folder))


def test_each_verdict_is_that_of_the_last_release_or_its_difference_is_listed(found):
    """Status, answer, headers, log fields, metric names, and what the upstream receives."""
    others = unlisted(found)
    assert not others, f"list these in differences.yaml if they are intended: {shown(others)}"


def test_each_listed_difference_exists(found):
    unused = [each for each in intended() if not any(covers(each, *key) for key in found)]
    assert not unused, f"remove these from differences.yaml: {unused}"


def test_each_listed_difference_is_in_the_changelog():
    """Users look there for what breaks."""
    for entry in intended():
        lines = [each for each in changelog() if each.startswith(" ".join(entry["changelog"].split()))]
        assert len(lines) == 1, f"the changelog has {len(lines)} lines that begin with: {entry['changelog']}"
        assert ("**Breaking**" in lines[0]) is entry["breaking"], f"`breaking` and the changelog differ: {lines[0]}"
