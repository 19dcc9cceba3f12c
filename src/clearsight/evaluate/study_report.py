"""The report of a study: its history, what mattered, and every trial; one file without script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from clearsight.core.files import write_text
from clearsight.core.version import __version__
from clearsight.evaluate.report import PAGE, page_environment

SHOWN = 500
"""Trials in the table; study.json has them all."""
WIDTH, HEIGHT, LEFT, TOP = 648.0, 190.0, 52.0, 20.0
"""The chart's inner size and corner in the units of its view box."""


@dataclass(frozen=True)
class Point:
    """A trial in the history chart.

    Args:
        number: of the trial.
        x, y: in the chart.
        value: the objective.
        best: the best so far.
        best_y: of it, in the chart.
    """

    number: int
    x: float
    y: float
    value: float
    best: float
    best_y: float


def write_study_report(path: Path, outcome: Mapping[str, Any]) -> None:
    """Write the self-contained report of a study, crash-safely.

    Args:
        path: the HTML file.
        outcome: what `learn.search.tune` found: `trials` (each: number, state, value, parameters,
            model, seconds, error), `best`, `importances`, `space`, `evaluate`, `seconds`.

    Raises:
        StorageError: the file cannot be written.
    """
    write_text(path, render_study_report(outcome))


def render_study_report(outcome: Mapping[str, Any]) -> str:
    """Return the report's HTML; see `write_study_report`."""
    css = (PAGE / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")
    environment = page_environment()
    environment.filters["short"] = short
    trials = sorted(outcome["trials"], key=lambda trial: (-(trial["value"] or 0), trial["number"]))
    importances = sorted(outcome["importances"].items(), key=lambda item: -item[1])
    points, floor, ceiling = history(outcome["trials"])
    html = environment.get_template(
        "study.html.j2"
    ).render(
        css=Markup(css),  # noqa: S704 - our own file, no input
        css_digest=digest,
        version=__version__,
        study=outcome,
        best=outcome["best"],
        figures=outcome["evaluate"],
        trials=trials[:SHOWN],
        left=max(0, len(trials) - SHOWN),
        states={state: _count(trials, state) for state in ("complete", "pruned", "fail")},
        importances=importances,
        most=max((share for _, share in importances), default=0.0) or 1.0,
        points=points,
        floor=floor,
        ceiling=ceiling,
    )
    return html.encode("utf-8", "backslashreplace").decode("utf-8")


def history(trials: Sequence[Mapping[str, Any]]) -> tuple[list[Point], float, float]:
    """Return the complete trials as points of the chart, and the values of its lower and upper end.

    Example:
        >>> trials = [{"number": 0, "value": 0.8}, {"number": 1, "value": 0.9}]
        >>> points, floor, ceiling = history(trials)
        >>> [point.best for point in points], floor < 0.8, ceiling > 0.9
        ([0.8, 0.9], True, True)
    """
    complete = [trial for trial in trials if trial["value"] is not None]
    if not complete:
        return [], 0.0, 1.0
    values = [float(trial["value"]) for trial in complete]
    margin = max(0.01, 0.05 * (max(values) - min(values)))
    floor, ceiling = max(0.0, min(values) - margin), min(1.0, max(values) + margin)
    last = max(1, *(trial["number"] for trial in complete))
    scale = HEIGHT / max(1e-9, ceiling - floor)
    points, best = [], 0.0
    for trial, value in zip(complete, values, strict=True):
        best = max(best, value)
        x, bottom = LEFT + WIDTH * trial["number"] / last, TOP + HEIGHT
        ys = (bottom - scale * (value - floor), bottom - scale * (best - floor))
        points.append(Point(trial["number"], x, ys[0], value, best, ys[1]))
    return points, floor, ceiling


def short(value: Any) -> str:
    """Return a drawn value for people: numbers with three digits.

    Example:
        >>> short(0.0123456), short("hog")
        ('0.0123', 'hog')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _count(trials: Sequence[Mapping[str, Any]], state: str) -> int:
    return sum(trial["state"] == state for trial in trials)
