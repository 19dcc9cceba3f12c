"""A table of accuracies as a picture: a row a recognizer, a column a kind of picture."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

LEFT, WIDTH, LINE, HEAD = 330, 860, 38, 118
FOOT_LETTERS = 116
STYLE = """
:root { --card: #ffffff; --ink: #151a21; --soft: #566070; --line: #e2e6ec; --cell: 15, 98, 196; }
@media (prefers-color-scheme: dark) {
:root { --card: #161b22; --ink: #e9edf3; --soft: #a0abba; --line: #2a323d;
--cell: 102, 170, 255; } }
text { fill: var(--ink); font: 15px system-ui, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif;
font-variant-numeric: tabular-nums; }
.back { fill: var(--card); stroke: var(--line); } .title { font-size: 24px; font-weight: 650; }
.soft { fill: var(--soft); font-size: 13px; } .strong { font-weight: 600; }
.line { stroke: var(--line); }
"""


@dataclass(frozen=True)
class Row:
    """One recognizer.

    Args:
        name: of the model; shown once for rows that follow each other.
        kind: how it was trained.
        shares: accuracy by column in [0, 1]; None where there is no such recognizer.
    """

    name: str
    kind: str
    shares: Mapping[str, float | None]


def table(title: str, told: str, columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Return the table as SVG; the higher an accuracy, the stronger its cell's colour.

    Args:
        title: of the picture.
        told: what was measured, below the table.
        columns: keys of `Row.shares`, in order.
        rows: from top to bottom.
    """
    foot = textwrap.wrap(told, FOOT_LETTERS)
    height = HEAD + LINE * len(rows) + 30 + 20 * len(foot) + 8
    cell = (WIDTH - LEFT - 24) / len(columns)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<rect class="back" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="14"/>',
        f'<text class="title" x="32" y="48">{escape(title)}</text>',
        '<text class="soft" x="32" y="74">accuracy in percent, each measured once on test pictures'
        "</text>",
    ]
    for at, column in enumerate(columns):
        middle = LEFT + cell * (at + 0.5)
        parts.append(
            f'<text class="soft" x="{middle:.0f}" y="{HEAD - 14}" text-anchor="middle">'
            f"{escape(column)}</text>"
        )
    for number, row in enumerate(rows):
        again = number > 0 and rows[number - 1].name == row.name
        parts += _row(row, columns, HEAD + LINE * number, cell, again)
    below = HEAD + LINE * len(rows) + 34
    parts += [
        f'<text class="soft" x="32" y="{below + 20 * at}">{escape(line)}</text>'
        for at, line in enumerate(foot)
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(row: Row, columns: Sequence[str], top: float, cell: float, again: bool) -> list[str]:
    parts = [f'<text x="172" y="{top + 25}">{escape(row.kind)}</text>']
    if not again:
        parts.append(f'<line class="line" x1="32" x2="{WIDTH - 24}" y1="{top}" y2="{top}"/>')
        parts.append(f'<text class="strong" x="32" y="{top + 25}">{escape(row.name)}</text>')
    lefts = [LEFT + cell * at for at in range(len(columns))]
    shares = [row.shares.get(column) for column in columns]
    return parts + [
        _cell(share, left, top, cell) for share, left in zip(shares, lefts, strict=True)
    ]


def _cell(share: float | None, left: float, top: float, width: float) -> str:
    middle = f'x="{left + width / 2:.0f}" y="{top + 25}" text-anchor="middle"'
    if share is None:
        return f'<text class="soft" {middle}>–</text>'
    shade = f"rgba(var(--cell), {0.05 + 0.45 * share**2:.2f})"
    return (
        f'<rect x="{left + 3:.0f}" y="{top + 3}" width="{width - 6:.0f}" height="{LINE - 6}" '
        f'rx="6" style="fill: {shade}"/><text {middle}>{100 * share:.1f}</text>'
    )
