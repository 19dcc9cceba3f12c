"""The report of a comparison: one HTML file without script, its figures as JSON, one picture."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from clearsight.core.durations import text as duration
from clearsight.core.errors import UsageError
from clearsight.core.files import write_json, write_text
from clearsight.core.version import __version__
from clearsight.evaluate.comparison import Comparison, Standing
from clearsight.evaluate.comparison_chart import AccuracyScale, Frame, plot
from clearsight.evaluate.pairs import LEVEL
from clearsight.evaluate.report import PAGE, page_environment

STYLES = ("report.css", "comparison.css")
IN_PAGE = Frame(left=58, right=548, top=14, bottom=330)
ROW = 34
HEAD = 132
PICTURE_WIDTH = 1240
PARTS = {
    "test": "the held-out test part",
    "val": "the validation part",
    "all": "all labelled pictures",
}


@dataclass(frozen=True)
class Told:
    """What the report tells beside the figures.

    Args:
        title: of the page and the picture.
        budget_s: the time each recognizer was given, or None when they were trained elsewhere.
        failed: recognizers that could not be trained: name and reason.
        command: the command line that made all this, or None.
        machine: processor and cores, or None.
    """

    title: str = "Recognizers compared"
    budget_s: float | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    machine: str | None = None


def write_comparison(path: Path, found: Comparison, told: Told | None = None) -> Path:
    """Write the report FILE.html, the figures FILE.json and the picture FILE.svg, crash-safely.

    The page loads nothing and its content security policy allows no script.

    Args:
        path: the HTML file.
        found: the comparison.
        told: what to tell beside it.

    Returns:
        `path`.

    Raises:
        UsageError: `path` does not end in .html.
        StorageError: a file cannot be written.
    """
    check_report_path(path)
    told = told or Told()
    write_json(path.with_suffix(".json"), comparison_json(found, told))
    write_text(path.with_suffix(".svg"), render_picture(found, told))
    write_text(path, render_comparison(found, told))
    return path


def check_report_path(path: Path) -> None:
    """Refuse a report that is no HTML file.

    Raises:
        UsageError: `path` does not end in .html, or lies in no folder.
    """
    if path.suffix.lower() != ".html":
        raise UsageError(f"The report is an HTML file; got {path.name!r}. Name it FILE.html.")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is no folder. Make it first, or choose another --out.")


def comparison_json(found: Comparison, told: Told) -> dict[str, Any]:
    """Return the figures with what is told beside them."""
    failed = [{"name": name, "reason": reason} for name, reason in told.failed.items()]
    return {**found.to_json(), "time_s": told.budget_s, "failed": failed}


def render_comparison(found: Comparison, told: Told) -> str:
    """Return the report's HTML; see `write_comparison`."""
    css = "".join((PAGE / name).read_text(encoding="utf-8") for name in STYLES)
    digest = base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")
    best = found.standings[0]
    alike = [item.contender.name for item in found.standings[1:] if _alike(found, 0, item)]
    return _render(
        "comparison.html.j2",
        css=Markup(css),  # noqa: S704 - our own files, no input
        css_digest=digest,
        version=__version__,
        found=found,
        told=told,
        best=best,
        alike=alike,
        late=late(found, told),
        part=PARTS[found.part],
        matrix=_matrix(found),
        scale=AccuracyScale(found.standings, found.n, 6, 104),
        plots={
            "latency": plot(found, "latency", IN_PAGE),
            "size": plot(found, "size", IN_PAGE),
        },
        level=LEVEL,
    )


def render_picture(found: Comparison, told: Told) -> str:
    """Return the picture for a README: the ranking, and accuracy against latency, as SVG."""
    height = HEAD + ROW * max(len(found.standings), 10) + 54
    frame = Frame(left=812, right=1204, top=HEAD - 8, bottom=height - 96)
    return _render(
        "leaderboard.svg.j2",
        found=found,
        told=told,
        part=PARTS[found.part],
        width=PICTURE_WIDTH,
        height=height,
        head=HEAD,
        row=ROW,
        scale=AccuracyScale(found.standings, found.n, 262, 440),
        plot=plot(found, "latency", frame),
        level=LEVEL,
        version=__version__,
    )


def _render(template: str, **values: object) -> str:
    environment = page_environment()
    environment.filters |= {"whole_time": whole_time, "megabytes": megabytes, "brief": brief}
    text = environment.get_template(template).render(**values)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def whole_time(duration_s: float) -> str:
    """Return a duration for people, without seconds where there are none.

    Example:
        >>> whole_time(60), whole_time(59.6), whole_time(90)
        ('1 min', '1 min', '1 min 30 s')
    """
    return duration(duration_s).removesuffix(" 0 s")


def megabytes(count: float) -> str:
    """Return bytes for people.

    Example:
        >>> megabytes(123_456), megabytes(45_600_000)
        ('0.12 MB', '46 MB')
    """
    return f"{brief(count / 1e6)} MB"


def brief(value: float) -> str:
    """Return a positive number with two digits, more where it is larger.

    Example:
        >>> brief(0.0123), brief(4.56), brief(1234.5)
        ('0.012', '4.6', '1,234')
    """
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 1 else f"{value:.1f}"


@dataclass(frozen=True)
class Cell:
    """One cell of the pair table: how many points the row's recognizer is ahead of the column's."""

    points: float
    different: bool
    tip: str


def late(found: Comparison, told: Told) -> list[Standing]:
    """Return the recognizers that were trained longer than the time given to all."""
    limit_s = float("inf") if told.budget_s is None else told.budget_s * 1.01
    return [item for item in found.standings if (item.contender.train_s or 0.0) > limit_s]


def _matrix(found: Comparison) -> list[list[Cell | None]]:
    names = [item.contender.name for item in found.standings]
    return [[_cell(found, row, column) for column in names] for row in names]


def _cell(found: Comparison, row: str, column: str) -> Cell | None:
    if row == column:
        return None
    pair = found.pair(row, column)
    sign = 1 if pair.first == row else -1
    ends = sorted((sign * pair.accuracy.low, sign * pair.accuracy.high))
    tip = (
        f"{row} against {column}: {100 * sign * pair.accuracy.value:+.2f} points "
        f"({100 * ends[0]:+.2f} to {100 * ends[1]:+.2f}), p {pair.p_corrected:.2g}"
    )
    return Cell(100 * sign * pair.accuracy.value, pair.different, tip)


def _alike(found: Comparison, place: int, item: Standing) -> bool:
    return not found.pair(found.standings[place].contender.name, item.contender.name).different
