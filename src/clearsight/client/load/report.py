"""The report of a measurement: one HTML file without script."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from importlib import resources
from pathlib import Path
from typing import Any

from clearsight.client.load.histogram import Histogram
from clearsight.client.load.result import LoadResult
from clearsight.core.errors import UsageError
from clearsight.core.files import write_json, write_text

WIDTH, HEIGHT = 640.0, 200.0
NINES = (0.5, 0.9, 0.99, 0.999, 0.9999)


def write_result(path: Path, result: LoadResult) -> None:
    """Write a result as a page (.html) or as plain data (.json), crash-safely.

    Raises:
        UsageError: another suffix.
        StorageError: the file cannot be written.
    """
    check_suffix(path)
    if path.suffix == ".json":
        write_json(path, result.to_json())
    else:
        write_text(path, render(result))


def check_suffix(path: Path) -> None:
    """Refuse what cannot be written, before anything is measured.

    Raises:
        UsageError: neither .html nor .json.
    """
    if path.suffix not in (".html", ".json"):
        raise UsageError(f"--out takes a file that ends in .html or .json; got {path.name!r}.")


def render(result: LoadResult) -> str:
    """Return the report's HTML."""
    import jinja2

    css = (resources.files("clearsight.client.load") / "page" / "load.css").read_text("utf-8")
    template = (resources.files("clearsight.client.load") / "page" / "load.html.j2").read_text(
        "utf-8"
    )
    value = result.to_json()
    corrected = result.corrected()
    curves = [("as measured", result.record.answered)]
    if corrected is not None:
        curves.append(("corrected for coordinated omission", corrected))
    slowest_ms = max(1e-3, *(times.largest_s * 1000 for _, times in curves))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    digest = base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")
    return environment.from_string(template).render(
        css=_Safe(css),
        digest=digest,
        value=value,
        lines=result.lines(),
        curves=[(name, _curve(times, slowest_ms)) for name, times in curves if times.count],
        ticks=[(round(_x(share), 1), f"{share * 100:g} %") for share in NINES],
        slowest=f"{slowest_ms:.4g}",
        bars=_bars(value["timeline"]),
        most=int(_most(value["timeline"])),
        data=json.dumps({k: v for k, v in value.items() if k != "timeline"}, indent=1),
        width=WIDTH,
        height=HEIGHT,
    )


class _Safe(str):
    """Our own style sheet, which is not escaped."""

    def __html__(self) -> str:
        return self


def _x(share: float) -> float:
    """Place a percentile: every further nine takes the same room."""
    return WIDTH * -math.log10(max(1e-4, 1 - share)) / 4


def _curve(times: Histogram, slowest_ms: float) -> str:
    """Return an SVG polyline's points: latency over percentile."""
    points = []
    for step in range(121):
        share = 1 - 10 ** (-4 * step / 120)
        y = HEIGHT * (1 - times.quantile(share) * 1000 / slowest_ms)
        points.append(f"{_x(share):.1f},{y:.1f}")
    return " ".join(points)


def _bars(timeline: list[list[float]]) -> list[dict[str, Any]]:
    """Return one bar a second: answers, and what was refused or failed on top of it."""
    most = _most(timeline)
    seconds = (timeline[-1][0] + 1) if timeline else 1
    width = WIDTH / seconds
    return [
        {
            "x": round(second * width, 2),
            "width": round(max(0.5, width * 0.9), 2),
            "good": round(HEIGHT * good / most, 2),
            "bad": round(HEIGHT * bad / most, 2),
        }
        for second, good, bad, _ in timeline
    ]


def _most(timeline: list[list[float]]) -> float:
    return max((row[1] + row[2] for row in timeline), default=0) or 1
