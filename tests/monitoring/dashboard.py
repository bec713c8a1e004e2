"""The panels of the dashboard and their queries."""

from __future__ import annotations

import json

from harness.prometheus import FOLDER

DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
# The values of Grafana's variables. A minute is a second here.
VARIABLES = {"$job": "webhook-guard", "$endpoint": ".+", "$__rate_interval": "5s", "$__range": "120s"}


def filled(expression: str) -> str:
    """A panel's query with its variables replaced."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression
