"""The report: one HTML file that tells all an evaluation found, offline and without script."""

from __future__ import annotations

import base64
import hashlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from clearsight.core.files import write_text
from clearsight.core.version import __version__
from clearsight.data.dataset import Dataset
from clearsight.evaluate.card import hardening_options, remedy_text
from clearsight.evaluate.evaluation import Case, Evaluation, LeftOut
from clearsight.evaluate.figures import METRICS, ClassScore, Figures, Measure
from clearsight.evaluate.limits import limits
from clearsight.evaluate.metric import Metric
from clearsight.evaluate.thumbnails import png_uri, thumbnail_uri

PAGE = Path(__file__).parent / "page"
LARGEST_TABLE = 25
"""Classes up to which the confusion matrix is a table; above, confusions are listed instead."""
CLASSES_SHOWN = 30
LEFT_OUT_SHOWN = 1000
FACTS = (
    "family",
    "part",
    "data",
    "run",
    "engine",
    "seconds",
    "counts",
    "story",
    "config",
    "preprocessing",
    "seed",
    "weight_licences",
    "created_utc",
    "id",
    "data_fingerprint",
    "versions",
    "vector",
    "sheet",
)
STORY = ("reason", "training", "curve", "augmentation", "imbalance", "hardened")


@dataclass(frozen=True)
class ClassRow:
    """One line of the class table: a name, its figures and what it is mostly taken for."""

    name: str
    score: ClassScore
    taken_for: str | None
    taken_for_n: int


@dataclass(frozen=True)
class MetricCard:
    """One figure with what it means."""

    title: str
    meaning: str
    metric: Metric
    measure: Measure


def write_report(
    path: Path, evaluation: Evaluation, about: Mapping[str, Any], dataset: Dataset
) -> None:
    """Write the self-contained report, crash-safely.

    The file loads nothing: pictures are data: URIs, charts inline SVG, and its content security
    policy allows no script at all.

    Args:
        path: the HTML file.
        evaluation: what was found.
        about: facts to tell beside it, all optional: the manifest's fields, and `run`, `data`,
            `part` ("test", "val" or "all"), `engine`, `seconds`, `story` and `counts` (these
            three also inside `outcome`). `story["curve"]` is a list of
            {"epoch", "val_accuracy"}; `story["augmentation"]` says how training pictures were
            changed and `sheet` (PNG bytes) shows it.
        dataset: what was scored; pictures of the galleries are read from it again.

    Raises:
        StorageError: the file cannot be written.
    """
    write_text(path, render_report(evaluation, about, dataset))


def render_report(evaluation: Evaluation, about: Mapping[str, Any], dataset: Dataset) -> str:
    """Return the report's HTML; see `write_report`."""
    css = (PAGE / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")
    facts = {**dict.fromkeys(FACTS), **about.get("outcome", {}), **about}
    story = {**dict.fromkeys(STORY), **(facts["story"] or {})}
    html = (
        page_environment()
        .get_template("report.html.j2")
        .render(
            css=Markup(css),  # noqa: S704 - our own file, no input
            css_digest=digest,
            version=__version__,
            about=facts,
            story=story,
            curve=_curve(story),
            imbalance=story["imbalance"],
            remedy=remedy_text(story["imbalance"]) if story["imbalance"] else "",
            hardened_by=hardening_options(story["hardened"]) if story["hardened"] else "",
            sheet=png_uri(facts["sheet"]) if facts["sheet"] else None,
            commands=_commands(facts),
            evaluation=evaluation,
            figures=evaluation.figures,
            cards=_cards(evaluation.figures),
            rows=class_rows(evaluation.figures),
            rows_shown=CLASSES_SHOWN,
            confusions=evaluation.figures.confusions(),
            small=len(evaluation.figures.classes) <= LARGEST_TABLE,
            mistakes=_pictures(evaluation.mistakes, dataset),
            successes=_pictures(evaluation.successes, dataset),
            left_out=_left_out(evaluation),
            left_out_shown=LEFT_OUT_SHOWN,
            limits=limits(evaluation, facts["part"]),
        )
    )
    return html.encode("utf-8", "backslashreplace").decode("utf-8")


def class_rows(figures: Figures) -> list[ClassRow]:
    """Return the classes, worst recall first, those without a picture last."""
    mostly: dict[str, tuple[str, int]] = {}
    for item in figures.confusions():
        mostly.setdefault(item.truth, (item.predicted, item.n))
    rows = [
        ClassRow(name, score, *mostly.get(name, (None, 0)))
        for name, score in figures.per_class.items()
    ]
    return sorted(rows, key=lambda row: (row.score.recall is None, row.score.recall or 0.0))


def page_environment() -> jinja2.Environment:
    """Return what renders the pages: everything escaped, an undefined name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "figure": figure,
        "span": span,
        "level": level,
        "option": option,
    }
    return environment


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal, never rounded up to 100 or down to 0.

    Example:
        >>> percent(0.923), percent(0.99999), percent(1.0)
        ('92.3 %', '> 99.9 %', '100 %')
    """
    if value is None:
        return "–"
    text = f"{100 * value:.1f}"
    if text == "100.0":
        return "100 %" if value >= 1 else "> 99.9 %"
    if text == "0.0":
        return "0 %" if value <= 0 else "< 0.1 %"
    return f"{text} %"


def figure(value: float, metric: Metric) -> str:
    """Return a metric's value the way it is read: shares in percent, losses with 3 decimals."""
    return percent(value) if metric.best == metric.highest == 1 else f"{value:.3f}"


def span(seconds: float) -> str:
    """Return a duration for people.

    Example:
        >>> span(95)
        '1 min 35 s'
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def level(count: int, total: int) -> int:
    """Return the shade 0-9 of a cell: 0 is empty, 1 a few, 9 the whole row."""
    if not count:
        return 0
    return 1 + min(8, int(8 * (count / total) ** 0.5))


def option(value: Any) -> str:
    """Return an option's value the way it is read.

    Example:
        >>> option(1 / 3), option(True), option("noise")
        ('0.333', 'yes', 'noise')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cards(figures: Figures) -> list[MetricCard]:
    """Return the metrics but accuracy, which stands at the top of the page."""
    cards = []
    for key, item in figures.measures.items():
        if key == "accuracy":
            continue
        metric: Metric = METRICS.load(key)
        meaning = (sys.modules[metric.compute.__module__].__doc__ or "").strip().split("\n")[0]
        cards.append(MetricCard(metric.title, meaning, metric, item))
    return sorted(cards, key=lambda card: (card.metric.best != 1, card.title))


def _pictures(cases: Sequence[Case], dataset: Dataset) -> list[tuple[Case, str | None]]:
    return [(case, thumbnail_uri(dataset, case.index)) for case in cases]


def _left_out(evaluation: Evaluation) -> list[tuple[str, LeftOut]]:
    quarantined = [("quarantined", item) for item in evaluation.quarantined]
    return quarantined + [("skipped", item) for item in evaluation.skipped]


def _curve(story: Mapping[str, Any]) -> list[dict[str, float]]:
    """Return the points of the learning curve that have an epoch and a validation accuracy."""
    points = [point for point in story["curve"] or [] if isinstance(point, Mapping)]
    wanted = ("epoch", "val_accuracy")
    return [
        {key: float(value) for key, value in point.items() if isinstance(value, (int, float))}
        for point in points
        if all(isinstance(point.get(key), (int, float)) for key in wanted)
    ]


def _commands(facts: Mapping[str, Any]) -> list[str]:
    """Return the commands that lead here; DATA stands for the pictures it was trained on."""
    if facts["run"] is None:
        return []
    config = facts["config"] or {}
    train = ["clearsight", "train", "DATA", "--out", facts["run"]]
    if config.get("time_s") is not None:
        train += ["--time", f"{config['time_s']:g}s"]
    for option in ("epochs", "model", "seed"):
        if config.get(option) is not None:
            train += [f"--{option}", str(config[option])]
    if harden := config.get("harden"):
        train += ["--harden", harden["name"]]
        for name, value in harden["options"].items():
            train += ["--set", f"harden.options.{name}={value}"]
    evaluate = ["clearsight", "evaluate", facts["run"]]
    if facts["part"] == "all" and facts["data"] is not None:
        evaluate.append(facts["data"])
    return [shlex.join(train), shlex.join(evaluate)]
