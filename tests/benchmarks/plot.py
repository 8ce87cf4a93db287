"""The rows of the performance page as a picture: an SVG written by hand, legible on light and on dark pages.

Each row is a dot at its speed against the baseline, on a logarithmic axis, with a line from the least to the most of
the rounds and a tick at its goal. The card brings its own ground, so that it reads wherever it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from tests.benchmarks.measure import Reading, Row, number

WIDTH: Final = 900
LEFT: Final = 470
RIGHT: Final = 80
TOP: Final = 58
LINE: Final = 34
MARKS: Final = (0.5, 1, 2, 5, 10, 20, 50)

STYLE: Final = """
  .card { fill: #ffffff; stroke: #d0d7de; }
  .grid { stroke: #d8dee4; }
  .one { stroke: #57606a; stroke-dasharray: 4 3; }
  text { fill: #1f2328; font-family: system-ui, -apple-system, 'Segoe UI', sans-serif; font-size: 13px; }
  .against, .axis { fill: #59636e; font-size: 11px; }
  .whisker { stroke: #0969da; stroke-width: 3; }
  .dot { fill: #0969da; }
  .goal { stroke: #bc4c00; stroke-width: 3; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #3d444d; }
    .grid { stroke: #262c36; }
    .one { stroke: #9198a1; }
    text { fill: #f0f6fc; }
    .against, .axis { fill: #9198a1; }
    .whisker { stroke: #4493f8; }
    .dot { fill: #4493f8; }
    .goal { stroke: #f0883e; }
  }
"""


def plot(rows: Sequence[Row]) -> str:
    """The picture of ``rows``, all of which have a speed."""
    height = TOP + LINE * len(rows) + 34
    bottom = height - 30
    title = "Speed against the baseline, logarithmic: " + "; ".join(
        f"{plain(row.what)} {number(row.speed or 0)}" for row in rows
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        '<text x="16" y="26">Times as fast as the baseline</text>',
        f'<line class="goal" x1="{LEFT}" x2="{LEFT}" y1="14" y2="30"/>',
        f'<text class="against" x="{LEFT + 9}" y="26">goal</text>',
        f'<circle class="dot" cx="{LEFT + 62}" cy="22" r="5"/>',
        f'<text class="against" x="{LEFT + 72}" y="26">median; the line: least to most of the rounds</text>',
    ]
    for mark in MARKS:
        x = place(mark)
        lines.append(
            f'<line class="{"one" if mark == 1 else "grid"}" x1="{x}" x2="{x}" y1="{TOP - 12}" y2="{bottom}"/>'
        )
        lines.append(f'<text class="axis" x="{x}" y="{bottom + 18}" text-anchor="middle">{mark:g}×</text>')
    for index, row in enumerate(rows):
        lines += _row(row, TOP + LINE * index + LINE / 2 - 6)
    return "\n".join([*lines, "</svg>"]) + "\n"


def place(speed: float) -> float:
    """Where a speed lies on the axis."""
    low, high = math.log(MARKS[0]), math.log(MARKS[-1])
    inside = min(max(math.log(speed), low), high)
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (inside - low) / (high - low), 1)


def plain(text: str) -> str:
    """Without the signs of Markdown."""
    return text.replace("`", "")


def _row(row: Row, y: float) -> Iterator[str]:
    ends = sorted(_speed(row, value) for value in (row.low, row.high))
    speed = row.speed or 0.0
    yield f'<text x="16" y="{y}">{escape(plain(row.what))}</text>'
    yield f'<text class="against" x="16" y="{y + 14}">against: {escape(plain(row.baseline))}</text>'
    yield f'<line class="whisker" x1="{place(ends[0])}" x2="{place(ends[1])}" y1="{y + 2}" y2="{y + 2}"/>'
    if row.goal is not None:
        at = place(_speed(row, row.goal))
        yield f'<line class="goal" x1="{at}" x2="{at}" y1="{y - 7}" y2="{y + 11}"/>'
    yield f'<circle class="dot" cx="{place(speed)}" cy="{y + 2}" r="5"/>'
    beside = max(place(speed), place(ends[1])) + 12
    yield f'<text x="{beside}" y="{y + 6}">{number(speed)}×</text>'


def _speed(row: Row, value: float) -> float:
    return 1 / value if row.reading is Reading.COST else value
