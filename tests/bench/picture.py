"""Draws costs.svg: what an accepted request costs above the floor, by peer and size."""

from __future__ import annotations

from html import escape

from contestants import FLOOR, GUARD
from report import TITLES, Case, Results, human, spread

WIDTH, LABELS, BAR, GAP = 760, 150, 18, 46
# Readable on a light and on a dark page, on which the picture has no background of its own.
STYLE = """
text { font: 12px sans-serif; fill: #24292f } .title { font-size: 14px; font-weight: bold } .note { fill: #57606a }
.bar { fill: #8c959f } .guard { fill: #0969da } .spread { stroke: #24292f; stroke-width: 1.2 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .note { fill: #9198a1 } .bar { fill: #6e7681 } .guard { fill: #4493f8 } .spread { stroke: #e6edf3 }
}"""


def draw(results: Results, sizes=(1024, 8192, 65536)) -> str:
    cases = [Case("accepted", size, "HTTP/1.1") for size in sizes]
    parts, y = [text(0, 16, "CPU time of an accepted request above Envoy's buffer filter", "title")], 44
    parts.append(text(0, 34, "microseconds, HTTP/1.1; the line is the middle half of the rounds", "note"))
    for case in cases:
        if case in results.rounds:
            parts += panel(results, case, y + 14)
            y += BAR * (len(results.rounds[case]) - 1) + GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def panel(results: Results, case: Case, y: int) -> list:
    """The bars of one size, each size with a scale of its own."""
    found = {name: spread(results.over(case, name)) for name in results.rounds[case] if name != FLOOR}
    scale = (WIDTH - LABELS - 110) / max(each.high for each in found.values())
    parts = [text(0, y + 4, human(case.size), "title")]
    for row, (name, value) in enumerate(found.items()):
        top = y + 12 + row * BAR
        style = "guard" if name.startswith(GUARD) else "bar"
        parts.append(text(LABELS - 8, top + 11, TITLES.get(name, name), anchor="end"))
        parts.append(f'<rect class="{style}" x="{LABELS}" y="{top}" width="{max(0, value.middle) * scale:.1f}" height="{BAR - 5}"/>')
        ends = [f"{LABELS + max(0, each) * scale:.1f}" for each in (value.low, value.high)]
        parts.append(f'<path class="spread" d="M{ends[0]} {top + 6.5}H{ends[1]}"/>')
        parts.append(text(LABELS + max(0, value.high) * scale + 6, top + 11, f"{value.middle:.1f}"))
    return parts


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
