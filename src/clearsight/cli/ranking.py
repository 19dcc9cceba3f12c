"""A comparison as a table for a terminal."""

from __future__ import annotations

import io
import shutil
import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clearsight.core.durations import text as duration
from clearsight.evaluate.comparison import Comparison, Standing
from clearsight.evaluate.pairs import LEVEL

WIDE = 132
"""Terminals from this width on, and files, show every column."""
ALWAYS = frozenset({"Recognizer", "Accuracy", "95 % interval", "Group", "Trained", "ms", "Size"})


def ranking(found: Comparison) -> list[str]:
    """Return the lines of the table and what is to be known about it."""
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else WIDE + 30
    rows = [{"": str(place)} | _cells(item) for place, item in enumerate(found.standings, 1)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    columns = [name for name in rows[0] if width >= WIDE or not name or name in ALWAYS]
    for name in columns:
        left = name == "Recognizer"
        table.add_column(name, justify="left" if left else "right", no_wrap=not left)
    for row in rows:
        table.add_row(*(Text(row[name]) for name in columns))
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=terminal, no_color=not terminal).print(table)
    sample = f", a random sample of {found.of}" if found.n < found.of else ""
    return [
        *(line.rstrip() for line in stream.getvalue().splitlines() if line.strip()),
        "",
        f"{found.n} pictures ({found.part}){sample}. Recognizers that share a letter are not told "
        f"apart ({LEVEL:.0%}, Holm's correction): training again could turn them round.",
        "ms: one picture from its bytes to labels, p50 (and p95); per s: pictures in batches. "
        "On this machine, engines warm.",
    ]


def _cells(item: Standing) -> dict[str, str]:
    accuracy, cost, trained_s = item.accuracy, item.cost, item.contender.train_s
    return {
        "Recognizer": item.contender.name,
        "Accuracy": f"{accuracy.value:.4f}",
        "95 % interval": f"{accuracy.low:.4f}-{accuracy.high:.4f}",
        "Group": item.group,
        "Balanced": f"{item.measures['balanced-accuracy'].value:.4f}",
        "ECE": f"{item.measures['ece'].value:.4f}",
        "Trained": "-" if trained_s is None else duration(trained_s),
        "ms": f"{cost.picture.p50_ms:.2f}",
        "p95": f"{cost.picture.p95_ms:.2f}",
        "Per s": f"{cost.picture_rate:,.0f}",
        "Memory": "-" if cost.memory_mib is None else f"{cost.memory_mib:,.0f} MiB",
        "Size": f"{cost.bundle_bytes / 1e6:,.1f} MB",
    }
