"""The recognizer card: the Bundle's card with all that was found out since it was trained.

What it knows, how sure it is, where it fails, what it looks at, what breaks it: as Markdown, and
as a page of its own that loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from clearsight.core.files import write_text
from clearsight.core.version import __version__
from clearsight.evaluate.card import NOT_STRESSED, failures_section, quality_section
from clearsight.evaluate.card_findings import breaks_section, looks_section, measured_trust
from clearsight.evaluate.markdown import to_html
from clearsight.evaluate.report import page_environment

PAGE = Path(__file__).parent / "page"
GOOD, SURE, FAILS, LIMITS = "How good it is", "How sure it is", "Where it fails", "Limits"
LOOKS, BREAKS = "What it looks at", "What breaks it"


@dataclass(frozen=True)
class Findings:
    """What is known of a recognizer beside its Bundle, each as its JSON file tells it.

    Args:
        evaluated: of `clearsight evaluate`.
        explained: of `clearsight explain` with pictures.
        class_maps: of `clearsight explain --class-maps`.
        stressed: of `clearsight stress`.
        links: files beside the card by the name of the finding, to be linked.
    """

    evaluated: Mapping[str, Any] | None = None
    explained: Mapping[str, Any] | None = None
    class_maps: Mapping[str, Any] | None = None
    stressed: Mapping[str, Any] | None = None
    links: Mapping[str, str] | None = None


def recognizer_card(base: str, found: Findings) -> str:
    """Return the recognizer card as Markdown.

    Args:
        base: the Bundle's card.md.
        found: what takes the place of the validation part's figures, and what is added.
    """
    title, sections = _cut(base)
    links = found.links or {}
    if found.evaluated:
        sections[GOOD] = quality_section(found.evaluated)
        measured = measured_trust(found.evaluated, links.get("evaluated"))
        if measured:
            sections[SURE] = _joined(sections.get(SURE, f"## {SURE}"), measured)
        sections[FAILS] = failures_section(found.evaluated)
    sections[LOOKS] = looks_section(found.explained, found.class_maps, links)
    sections[BREAKS] = breaks_section(found.stressed, links.get("stressed"))
    if found.stressed and LIMITS in sections:
        sections[LIMITS] = sections[LIMITS].replace(f"{NOT_STRESSED}\n", "")
    first = [name for name in sections if name not in (GOOD, SURE, FAILS, LOOKS, BREAKS, LIMITS)]
    last = [LIMITS] if LIMITS in sections else []
    place = first.index("Variants") if "Variants" in first else len(first)
    order = [*first[:place], GOOD, SURE, FAILS, LOOKS, BREAKS, *first[place:], *last]
    parts = [title, *(sections.get(name, "").strip() for name in order)]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_recognizer_card(path: Path, base: str, found: Findings) -> None:
    """Write the card as `path` (Markdown) and, beside it, as a page; crash-safely.

    Args:
        path: card.md of the RUN.
        base: the Bundle's card.md.
        found: see `recognizer_card`.

    Raises:
        StorageError: a file cannot be written.
    """
    text = recognizer_card(base, found)
    write_text(path, text)
    write_text(path.with_suffix(".html"), render_page(text))


def render_page(text: str) -> str:
    """Return a card's Markdown as a page without script."""
    css = "\n".join(
        (PAGE / name).read_text(encoding="utf-8") for name in ("report.css", "recognizer.css")
    )
    digest = base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")
    title, rest = _title(text)
    html = (
        page_environment()
        .get_template("recognizer.html.j2")
        .render(
            css=Markup(css),  # noqa: S704 - our own files, no input
            css_digest=digest,
            version=__version__,
            title=title,
            body=Markup(to_html(rest)),  # noqa: S704 - to_html escapes every letter
        )
    )
    return html.encode("utf-8", "backslashreplace").decode("utf-8")


def _title(text: str) -> tuple[str, str]:
    first, _, rest = text.partition("\n")
    return re.sub(r"\\(.)", r"\1", first.removeprefix("# ").strip()), rest


def _cut(base: str) -> tuple[str, dict[str, str]]:
    """Return what stands above the first section, and the sections by title, in their order."""
    title, *parts = re.split(r"^(?=## )", base, flags=re.MULTILINE)
    named = {part.partition("\n")[0][3:].strip(): part.strip() for part in parts}
    return title.strip(), named


def _joined(section: str, lines: list[str]) -> str:
    """Return a section with further items: after its own list, or as its first one."""
    gap = "\n" if section.rstrip().splitlines()[-1].startswith("- ") else "\n\n"
    return section.rstrip() + gap + "\n".join(lines)
