"""Draws envoy/monitoring/incident.svg: the dashboard's panels, as Prometheus saw the scripted incident.

Run it by `make picture`. Every point is a value that Prometheus gave for the panel's own query.
"""

from __future__ import annotations

import math
from html import escape

from dashboard import PANELS, filled
from incident import Incident

from harness.prometheus import FOLDER

WIDTH, MARGIN, LEGEND = 1000, 44, 138
COLOURS = ["#4269d0", "#efb118", "#ff725c", "#3ca951", "#a463f2", "#97bbf5", "#9c6b4e", "#6cc5b0", "#ff8ab7", "#9498a0"]
# The panels by title, two in a row.
DRAWN = ["Verdicts", "Denied, by reason", "Denied, by endpoint", "Secret usage"]
DRAWN += ["Time in the guard", "Time in the application"]
HEIGHT, BAR = 170, 13
# A scale is logarithmic if the largest value exceeds the smallest by more than this factor.
WIDE = 50
LARGER = {"µs": "ms", "ms": "s"}
CALM = 15


def main() -> None:
    with Incident() as incident:
        incident.calm(CALM)
        incident.run_steps()
        incident.fix()
        picture = draw(incident)
    (FOLDER / "incident.svg").write_text(picture)
    print(f"{FOLDER / 'incident.svg'}: {len(picture)} bytes")


def draw(incident: Incident) -> str:
    start, end = incident.phases[0][0], incident.phases[-1][0]

    def ask(panel: dict) -> list:
        """Names and points of a panel's series, the largest first."""
        found = []
        for target in panel["targets"]:
            for each in incident.prometheus.query(filled(target["expr"]), start=start, end=end, step=1):
                points = [(time - start, float(value)) for time, value in each["values"] if value != "NaN"]
                if any(value for _, value in points):
                    found.append((named(target["legendFormat"], each["metric"]), points))
        return sorted(found, key=lambda each: -max(value for _, value in each[1]))

    panels = {panel["title"]: panel for panel in PANELS}
    parts, y = [], 30
    alerts = sorted(ask(panels["Alerts"]), key=lambda each: each[1][0])
    parts.append(timeline(alerts, [(time - start, name) for time, name in incident.phases], end - start, y))
    y += BAR * len(alerts) + 90
    for number, title in enumerate(DRAWN):
        place = (number % 2 * WIDTH // 2, y + number // 2 * (HEIGHT + 40))
        parts.append(chart(panels[title], ask(panels[title]), end - start, *place))
    return page(parts, y + (len(DRAWN) + 1) // 2 * (HEIGHT + 40))


def named(legend: str, labels: dict) -> str:
    for name, value in labels.items():
        legend = legend.replace("{{%s}}" % name, value)
    return legend


def page(parts: list, height: int) -> str:
    style = 'font-family="sans-serif" font-size="11" fill="#333"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {style}>'
    white = f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    title = "A scripted incident as the dashboard shows it, in seconds: normal traffic, one failure after another, all fixed"
    return "\n".join([head, white, text(8, 18, title, size=13), *parts, "</svg>", ""])


def timeline(alerts: list, phases: list, span: float, y: int) -> str:
    """When each alert fired, below the names of what happened."""
    left, bottom = 190, y + 60 + BAR * len(alerts)
    scale = (WIDTH - left - 60) / span
    parts = []
    label = 0.0
    for at, name in phases:
        x = left + at * scale
        label = max(x + 3, label + 12)
        parts.append(f'<path d="M{x:.1f} {y + 54}V{bottom}" stroke="#ddd"/>')
        turned = f'transform="translate({label:.1f} {y + 52}) rotate(-40)" font-size="10"'
        parts.append(f"<text {turned}>{escape(name)}</text>")
    for row, (name, points) in enumerate(alerts):
        top = y + 58 + row * BAR
        parts.append(text(left - 6, top + 9, name, anchor="end"))
        bars = "".join(f"M{left + at * scale:.1f} {top + 5}h{scale + 0.5:.1f}" for at, _ in points)
        parts.append(f'<path d="{bars}" stroke="#d62728" stroke-width="8"/>')
    return "\n".join(parts)


def chart(panel: dict, series: list, span: float, x: int, y: int) -> str:
    """Lines over time, with their names beside them."""
    left, right, top, bottom = x + MARGIN, x + WIDTH // 2 - LEGEND, y + 22, y + HEIGHT
    unit = panel["fieldConfig"]["defaults"]["unit"]
    values = [value for _, points in series for _, value in points if value > 0]
    peak = max(values)
    is_logarithmic = peak > WIDE * min(values)
    floor = min(values) if is_logarithmic else 0

    def height(value: float) -> float:
        share = math.log(max(value, floor) / floor) / math.log(peak / floor) if is_logarithmic else value / peak
        return bottom - share * (bottom - top)

    title = panel["title"] + ", logarithmic" * is_logarithmic
    axes = f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#999"/>'
    parts = [text(x + 8, y + 12, title, size=12), axes]
    middle = math.sqrt(peak * floor) if is_logarithmic else peak / 2
    for value in (floor, middle, peak):
        parts.append(text(left - 4, height(value) + 4, human(value, unit), anchor="end", size=9))
    for second in range(0, int(span) + 1, 10):
        parts.append(text(left + second / span * (right - left), bottom + 12, str(second), anchor="middle", size=9))
    for number, (name, points) in enumerate(series[: len(COLOURS)]):
        line = path(points, lambda at: left + at / span * (right - left), height)
        parts.append(f'<path d="{line}" fill="none" stroke="{COLOURS[number]}" stroke-width="1.4"/>')
        parts.append(f'<path d="M{right + 8} {top + 4 + number * 13}h10" stroke="{COLOURS[number]}" stroke-width="3"/>')
        parts.append(text(right + 22, top + 8 + number * 13, name, size=10))
    return "\n".join(parts)


def human(value: float, unit: str) -> str:
    if unit in LARGER and value >= 1000:
        return human(value / 1000, LARGER[unit])
    return f"{value:.3g}" + {"reqps": "/s"}.get(unit, f" {unit}")


def path(points: list, across, height) -> str:
    """A line, which is cut where there are no values."""
    found, last = "", None
    for at, value in points:
        found += f"{'L' if last is not None and at - last < 1.5 else 'M'}{across(at):.1f} {height(value):.1f}"
        last = at
    return found


def text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'


if __name__ == "__main__":
    main()
