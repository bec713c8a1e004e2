"""The dashboard: what its panels ask Prometheus."""

from __future__ import annotations

import json

from prometheus import FOLDER

DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
# What Grafana puts in, in a world in which minutes are seconds.
VARIABLES = {"$job": "webhook-guard", "$endpoint": ".+", "$__rate_interval": "5s", "$__range": "120s"}


def filled(expression: str) -> str:
    """A panel's query as Prometheus gets it."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression
