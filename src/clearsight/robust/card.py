"""The robustness card: one HTML file, offline and without script, and the same as JSON."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from clearsight.core.files import write_json, write_text
from clearsight.core.nouns import ImageHWC
from clearsight.core.version import __version__
from clearsight.robust.attacks import ATTACKS
from clearsight.robust.corruptions import CORRUPTIONS
from clearsight.robust.deformations import DEFORMATIONS
from clearsight.robust.robustness import Example, Rate, Rates, Robustness

PAGE = Path(__file__).parent / "page"
CLASSES_SHOWN = 100
LARGEST_SIDE = 160
SMALL_SIDE = 64
ATTACK_TITLES = {"apgd-ce": "APGD-CE", "apgd-t": "APGD-T", "fgsm": "FGSM", "pgd": "PGD"}
FACTS = ("family", "part", "data", "run", "engine", "variant", "id")
GROUPS = {
    "published": "The 15 published corruptions",
    "extra": "The 4 extra ones",
    "own": "Own definitions",
}


@dataclass(frozen=True)
class Row:
    """One kind in a table: its title and its rate at each severity."""

    title: str
    rates: dict[int, Rate]

    @property
    def mean(self) -> float:
        """Accuracy averaged over the severities."""
        return sum(rate.accuracy for rate in self.rates.values()) / len(self.rates)

    @property
    def interval(self) -> tuple[float, float]:
        """The mean of their intervals: at least as wide as that of the mean."""
        ends = [rate.interval for rate in self.rates.values()]
        return sum(low for low, _ in ends) / len(ends), sum(high for _, high in ends) / len(ends)


@dataclass(frozen=True)
class Shot:
    """A lost picture, ready to show."""

    title: str
    example: Example
    before: str
    after: str
    exact: bool


def write_card(path: Path, found: Robustness, about: Mapping[str, Any]) -> None:
    """Write the robustness card and, beside it, the same as JSON; crash-safely.

    Args:
        path: the HTML file; the JSON file has its name with the suffix .json.
        found: what was measured.
        about: facts to tell, all optional: family, part, data, run, engine, variant, id.

    Raises:
        StorageError: a file cannot be written.
    """
    write_text(path, render_card(found, about))
    told = {key: about[key] for key in FACTS if about.get(key) is not None}
    write_json(path.with_suffix(".json"), {**found.to_json(), "about": told})


def render_card(found: Robustness, about: Mapping[str, Any]) -> str:
    """Return the card's HTML; see `write_card`."""
    css = (PAGE / "card.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "shade": shade}
    html = environment.get_template(
        "card.html.j2"
    ).render(
        css=Markup(css),  # noqa: S704 - our own file, no input
        css_digest=digest,
        version=__version__,
        about={**dict.fromkeys(FACTS), **about},
        found=found,
        groups=_groups(found.corruptions),
        deformations=_rows(found.deformations),
        severities=_severities(found),
        attacks={title_of(key): rate for key, rate in _rates(found).items()},
        classes=found.failures[:CLASSES_SHOWN],
        more_classes=max(0, len(found.failures) - CLASSES_SHOWN),
        title_of=title_of,
        shots=[_shot(example) for example in found.examples],
        limits=limits(found),
    )
    return html.encode("utf-8", "backslashreplace").decode("utf-8")


def limits(found: Robustness) -> list[str]:
    """Return what the figures do not say, one sentence each."""
    lines = [
        f"Every figure stands on {found.n} pictures; the half-width of its 95 % interval is "
        f"{100 * _half(found.clean):.1f} points on clean pictures.",
        "Pictures are changed at the size at which the model sees them, after they were prepared.",
    ]
    if "frost" in found.corruptions:
        lines.append("Frost lays drawn ice over the picture, not the published photographs.")
    lines += [f"{title_of(kind)} is left out: {why}." for kind, why in found.left_out.items()]
    if found.attacks is not None:
        lines.append(
            f"Attacks were run on {found.attacks.clean.n} pictures. A stronger attack may find "
            "more; only a certificate says that none can."
        )
        if found.attacks.black_box:
            lines.append(f"Only black-box attacks were run: {found.attacks.black_box}")
    if found.certificate is not None:
        lines.append(
            "The certificate is about the smoothed recognizer, which votes over noisy copies and "
            "is slower; the recognizer itself is not certified."
        )
    return lines


def percent(value: float) -> str:
    """Return a share as a percentage with one decimal, never rounded up to 100 or down to 0.

    Example:
        >>> percent(0.923), percent(0.99999), percent(0)
        ('92.3 %', '> 99.9 %', '0 %')
    """
    text = f"{100 * value:.1f}"
    if text == "100.0":
        return "100 %" if value >= 1 else "> 99.9 %"
    if text in ("0.0", "-0.0"):
        return "0 %" if value <= 0 else "< 0.1 %"
    return f"{text} %"


def shade(accuracy: float, clean: float) -> int:
    """Return the shade 0-9 of a cell: 0 as good as clean, 9 nothing left.

    Example:
        >>> shade(0.9, 0.9), shade(0.45, 0.9), shade(0.0, 0.9)
        (0, 5, 9)
    """
    if clean <= 0:
        return 0
    lost = min(1.0, max(0.0, (clean - accuracy) / clean))
    return round(9 * lost + 1e-9)


def title_of(key: str) -> str:
    """Return how people call a corruption, deformation or attack."""
    for registry in (CORRUPTIONS, DEFORMATIONS):
        if key in registry.keys():  # noqa: SIM118 - a Registry
            title: str = registry.load(key).title
            return title
    if key in ATTACKS.keys() and key in ATTACK_TITLES:  # noqa: SIM118
        return ATTACK_TITLES[key]
    return key.replace("-", " ").capitalize()


def _half(rate: Rate) -> float:
    low, high = rate.interval
    return (high - low) / 2


def _groups(rates: Rates) -> list[tuple[str, list[Row]]]:
    found = []
    for group, title in GROUPS.items():
        part = {key: by for key, by in rates.items() if CORRUPTIONS.load(key).group == group}
        if part:
            found.append((title, _rows(part)))
    return found


def _rows(rates: Rates) -> list[Row]:
    """Return the kinds, the worst first."""
    rows = [Row(title_of(key), by) for key, by in rates.items()]
    return sorted(rows, key=lambda row: (row.mean, row.title))


def _severities(found: Robustness) -> list[int]:
    tables = (found.corruptions, found.deformations)
    return sorted({severity for rates in tables for by in rates.values() for severity in by})


def _rates(found: Robustness) -> dict[str, Rate]:
    return found.attacks.rates if found.attacks else {}


def _shot(example: Example) -> Shot:
    small = max(example.before.shape[:2]) <= SMALL_SIDE
    name = title_of(example.kind)
    title = name if example.severity is None else f"{name}, severity {example.severity}"
    return Shot(title, example, _uri(example.before), _uri(example.after), small)


def _uri(image: ImageHWC) -> str:
    """Return a picture as a data: URI, PNG."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
