"""The chart of the report: bars, in an SVG of our own.

Rule: it is read on a light and on a dark page, so it has no background, and its colours follow the reader's scheme.
"""

from collections.abc import Sequence
from html import escape

from bench.goals import middle
from bench.runner import Results
from bench.servers.base import Role, Server
from bench.tables import COLUMNS, is_higher_better, ordered
from bench.works import Group

_WIDTH = 760
_LABEL = 190
_VALUE = 60
_BAR = 16
_STEP = 22
_TITLE = 34
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; }
  .label, .value { font-size: 12px; }
  .ours { fill: #0a69da; }
  .peer { fill: #8c959f; }
  .limit { fill: none; stroke: #8c959f; stroke-dasharray: 3 2; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .ours { fill: #58a6ff; }
    .peer { fill: #6e7681; }
    .limit { stroke: #8b949e; }
  }
"""


def draw(groups: Sequence[Group], kinds: Sequence[type[Server]], results: Results) -> str:
    """An SVG with the comparisons of `groups` in which more is better."""
    parts: list[str] = []
    top = 8
    for group in groups:
        if len(group.works) == 1 and is_higher_better(group):
            drawn, top = _panel(group, kinds, results, top)
            parts += drawn
    note = "Dashed: not a server to choose, but what is possible. Medians; more is better."
    parts.append(f'<text class="label" x="0" y="{top + 14}">{note}</text>')
    box = f'viewBox="0 0 {_WIDTH} {top + 24}" width="{_WIDTH}" height="{top + 24}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="Upload servers compared">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>"]) + "\n"


def _panel(group: Group, kinds: Sequence[type[Server]], results: Results, top: int) -> tuple[list[str], int]:
    work = group.works[0].name
    found = [(kind, middle(results, work, kind.name, group.metric)) for kind in ordered(group, kinds, results)]
    bars = [(kind, number) for kind, number in found if number is not None]
    if not bars:
        return [], top
    column = COLUMNS[group.metric]
    most = max(number for _, number in bars) or 1
    parts = [f'<text class="title" x="0" y="{top + 18}">{escape(group.title)}, {column.title}</text>']
    top += _TITLE
    for kind, number in bars:
        width = max(1, round((_WIDTH - _LABEL - _VALUE) * number / most))
        middle_line = top + _BAR - 4
        css = {Role.OURS: "ours", Role.VARIANT: "ours", Role.PEER: "peer", Role.LIMIT: "limit"}[kind.role]
        parts += [
            f'<text class="label" x="{_LABEL - 8}" y="{middle_line}" text-anchor="end">{escape(kind.label)}</text>',
            f'<rect class="{css}" x="{_LABEL}" y="{top}" width="{width}" height="{_BAR}" rx="2"/>',
            f'<text class="value" x="{_LABEL + width + 6}" y="{middle_line}">{number:.{column.digits}f}</text>',
        ]
        top += _STEP
    return parts, top + 10
