"""The contact sheet: one HTML file with every explanation, its proof, and an opacity slider."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from clearsight.core.version import __version__
from clearsight.explain.heat import SMALLEST_SIDE, Rgba, png
from clearsight.explain.weights_check import WeightsCheck

PAGE = Path(__file__).parent / "page"
MOST_CARDS = 200


@dataclass(frozen=True)
class Card:
    """One picture of the sheet.

    Args:
        path: where the picture is from.
        picture: it, as an address that a page can show.
        heat: the map, as such an address.
        small: it is shown enlarged.
        told: what programs read about it.
    """

    path: str
    picture: str
    heat: str
    small: bool
    told: dict[str, Any]


def card(path: str, picture: Any, layer: Rgba, small: bool, told: dict[str, Any]) -> Card:
    """Return a card.

    Args:
        path: where the picture is from.
        picture: (h, w, 3) uint8, as `heat.shown` gives it.
        layer: (h, w, 4) uint8 from `heat.heat`.
        small: it is shown enlarged.
        told: what programs read about it.
    """
    return Card(path, _uri(png(picture)), _uri(png(layer)), small, told)


def is_small(size: tuple[int, int]) -> bool:
    """Whether a picture of this (height, width) is shown enlarged."""
    return max(size) < SMALLEST_SIDE


def render_sheet(
    cards: Sequence[Card],
    classes: Sequence[Card],
    check: WeightsCheck | None,
    method: str,
    run: str,
    total: int,
) -> str:
    """Return the sheet's HTML; it needs no other file and no network.

    Args:
        cards: one an explanation, at most `MOST_CARDS`.
        classes: average maps.
        check: whether the maps change with random weights.
        method: key of the explainer.
        run: what was explained.
        total: how many pictures were explained.
    """
    css, js = ((PAGE / name).read_text(encoding="utf-8") for name in ("sheet.css", "sheet.js"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("sheet.html.j2").render(
        css=Markup(css),  # noqa: S704 - our own file, no input
        js=Markup(js),  # noqa: S704 - our own file, no input
        css_digest=_digest(css),
        js_digest=_digest(js),
        cards=cards,
        classes=classes,
        check=check,
        method=method,
        run=run,
        total=total,
        version=__version__,
    )
    return html.encode("utf-8", "backslashreplace").decode("utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
