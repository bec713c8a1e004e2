"""A real Prometheus during a scripted incident: each alert fires and ends, and each panel of the dashboard has data."""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree

import pytest
from dashboard import PANELS, filled
from incident import Incident
from platforms import PLATFORMS

from harness.prometheus import FOLDER, RULES
from harness.verdict import counters

NAMES = [rule["alert"] for rule in RULES]
QUERIES = {
    f"{panel['title']}-{target['refId']}": target for panel in PANELS for target in panel.get("targets", [])
}


@pytest.fixture(scope="module", params=PLATFORMS, ids=lambda platform: platform.name)
def incident(request):
    """An incident after its end: each alert fired in its step, and none fires now."""
    with Incident(request.param) as incident:
        incident.calm(12)
        incident.run_steps()
        incident.fix()
        yield incident


def at(incident: Incident, phase: str) -> float:
    """The time at which a phase began."""
    return next(time for time, name in incident.phases if name == phase)


def firing(incident: Incident, start: float, end: float) -> set:
    """The alerts that fire between two times."""
    found = incident.prometheus.query('ALERTS{alertstate="firing"}', start=start, end=end, step=1)
    return {each["metric"]["alertname"] for each in found}


def test_no_alert_fires_under_normal_traffic(incident):
    assert firing(incident, at(incident, "normal traffic"), at(incident, "forged signatures")) == set()


@pytest.mark.parametrize("alert", NAMES)
def test_each_alert_fires_and_ends(alert, incident):
    (step,) = [name for name, _, alerts in Incident.STEPS if alert in alerts]
    over = at(incident, "no alert fires")
    assert alert in firing(incident, at(incident, step), over)
    assert alert not in firing(incident, over, over)


def test_a_missing_allow_list_is_not_reported_as_an_upstream_failure(incident):
    """The fetches fail from the step `missing secret and allow list` on."""
    step = at(incident, "failing application")
    assert "WebhookUpstreamFailing" not in firing(incident, at(incident, "normal traffic"), step)


@pytest.mark.parametrize("name", QUERIES)
def test_each_panel_has_data(name, incident):
    """Instant queries run at the end of the incident, and range queries over all of it."""
    target = QUERIES[name]
    when = {"time": at(incident, "all causes fixed")}
    if not target.get("instant"):
        when = {"start": at(incident, "normal traffic"), "end": at(incident, "no alert fires"), "step": 1}
    found = incident.prometheus.query(filled(target["expr"]), **when)
    values = [value for each in found for _, value in each.get("values", [each.get("value")])]
    assert [value for value in values if value != "NaN"] != []


def test_the_rejected_share_is_zero_without_requests(incident):
    """A division by zero would show no number."""
    (target,) = next(panel["targets"] for panel in PANELS if panel["title"] == "Denied")
    expression = filled(target["expr"].replace("$endpoint", "unused"))
    assert [each["value"][1] for each in incident.prometheus.query(expression)] == ["0"]


def test_the_command_of_the_dashboard_lists_rejected_addresses(incident):
    (panel,) = [panel for panel in PANELS if panel["type"] == "text"]
    _, command, _ = panel["options"]["content"].split("```")
    command = command.removeprefix("sh\n").replace("access.log", str(incident.envoy.folder / "access"))
    done = subprocess.run(["sh", "-ec", command], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    count = counters(incident.envoy)[
        "webhook_guard_requests_total.endpoint=partner.verdict=denied.reason=client_address_denied"
    ]
    wanted = [str(count), '"client":"127.0.0.9"', '"endpoint":"partner"', '"reason":"client_address_denied"']
    assert wanted in [line.split() for line in done.stdout.splitlines()]


def test_every_metric_of_the_guard_is_documented_and_used(incident):
    """The dashboard or an alert uses each metric, with the labels of the page, and other series do not exist."""
    found = incident.prometheus.query('{__name__=~"webhook_guard_.+"}', time=at(incident, "no alert fires"))
    labels: dict = {}
    for metric in (each["metric"] for each in found):
        name = re.sub("_(bucket|sum|count)$", "", metric.pop("__name__"))
        labels.setdefault(name, set()).add(frozenset(metric.keys() - {"job", "instance", "le", *incident.platform.labels}))
    rows = re.findall(r"^\| `(webhook_guard_\w+)` \|(.*?)\|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert labels == {name: {frozenset(re.findall(r"\w+", text))} for name, text in rows}
    shown = str(QUERIES) + str(RULES)
    assert {name for name in labels if name not in shown} == set()


def test_the_picture_shows_every_alert():
    texts = xml.etree.ElementTree.parse(FOLDER / "incident.svg").iter("{http://www.w3.org/2000/svg}text")
    assert set(NAMES) <= {each.text for each in texts}
