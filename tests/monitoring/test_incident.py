"""A real Prometheus at a real incident: each alert fires and then is over, each panel of the dashboard shows something."""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree

import pytest
from dashboard import PANELS, filled
from incident import Incident
from prometheus import FOLDER, RULES

from harness.verdict import counters

NAMES = [rule["alert"] for rule in RULES]
QUERIES = {
    f"{panel['title']}-{target['refId']}": target for panel in PANELS for target in panel.get("targets", [])
}


@pytest.fixture(scope="module")
def incident():
    """One that is over. Each alert of a step has fired in it, and none does any more."""
    with Incident() as incident:
        incident.calm(12)
        incident.happen()
        incident.mend()
        yield incident


def at(incident: Incident, phase: str) -> float:
    """When a phase began."""
    return next(time for time, name in incident.phases if name == phase)


def firing(incident: Incident, start: float, end: float) -> set:
    """The alerts that fire at any time of this."""
    found = incident.prometheus.query('ALERTS{alertstate="firing"}', start=start, end=end, step=1)
    return {each["metric"]["alertname"] for each in found}


def test_nothing_fires_before(incident):
    assert firing(incident, at(incident, "as always"), at(incident, "forgeries")) == set()


@pytest.mark.parametrize("alert", NAMES)
def test_an_alert_fires_and_is_over(alert, incident):
    (step,) = [name for name, _, alerts in Incident.STEPS if alert in alerts]
    over = at(incident, "over")
    assert alert in firing(incident, at(incident, step), over)
    assert alert not in firing(incident, over, over)


def test_a_list_that_is_not_there_is_no_failure_of_the_application(incident):
    """Its fetches fail from the `missing parts` on."""
    step = at(incident, "a failing application")
    assert "WebhookUpstreamFailing" not in firing(incident, at(incident, "as always"), step)


@pytest.mark.parametrize("name", QUERIES)
def test_a_panel_shows_something(name, incident):
    """What the panel shows at the end of the incident, or over all of it."""
    target = QUERIES[name]
    when = {"time": at(incident, "mended")}
    if not target.get("instant"):
        when = {"start": at(incident, "as always"), "end": at(incident, "over"), "step": 1}
    found = incident.prometheus.query(filled(target["expr"]), **when)
    values = [value for each in found for _, value in each.get("values", [each.get("value")])]
    assert [value for value in values if value != "NaN"] != []


def test_of_no_requests_none_are_denied(incident):
    """A share of nothing would be no number."""
    (target,) = next(panel["targets"] for panel in PANELS if panel["title"] == "Denied")
    expression = filled(target["expr"].replace("$endpoint", "nobody"))
    assert [each["value"][1] for each in incident.prometheus.query(expression)] == ["0"]


def test_it_tells_which_addresses(incident):
    (panel,) = [panel for panel in PANELS if panel["type"] == "text"]
    _, command, _ = panel["options"]["content"].split("```")
    command = command.removeprefix("sh\n").replace("access.log", str(incident.envoy.folder / "access"))
    done = subprocess.run(["sh", "-ec", command], stdout=subprocess.PIPE, text=True, timeout=20, check=True)
    count = counters(incident.envoy)[
        "webhook_guard_requests_total.endpoint=partner.verdict=denied.reason=client_address_denied"
    ]
    wanted = [str(count), '"client":"127.0.0.9"', '"endpoint":"partner"', '"reason":"client_address_denied"']
    assert wanted in [line.split() for line in done.stdout.splitlines()]


def test_every_metric_of_the_guard_is_documented_and_used(incident):
    """By the dashboard or an alert, with the labels of the page, and there are no other series."""
    found = incident.prometheus.query('{__name__=~"webhook_guard_.+"}', time=at(incident, "over"))
    labels: dict = {}
    for metric in (each["metric"] for each in found):
        name = re.sub("_(bucket|sum|count)$", "", metric.pop("__name__"))
        labels.setdefault(name, set()).add(frozenset(metric.keys() - {"job", "instance", "le"}))
    rows = re.findall(r"^\| `(webhook_guard_\w+)` \|(.*?)\|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert labels == {name: {frozenset(re.findall(r"\w+", text))} for name, text in rows}
    shown = str(QUERIES) + str(RULES)
    assert {name for name in labels if name not in shown} == set()


def test_the_picture_shows_every_alert():
    texts = xml.etree.ElementTree.parse(FOLDER / "incident.svg").iter("{http://www.w3.org/2000/svg}text")
    assert set(NAMES) <= {each.text for each in texts}
