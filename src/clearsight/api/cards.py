"""Keeps RUN/card.md and RUN/card.html up to date: composes what every room found out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearsight.core.errors import StorageError
from clearsight.core.progress import Progress, Silent

if TYPE_CHECKING:
    from clearsight.core.bundle import Bundle

CARD_FILE = "card.md"
EXPLAIN_FOLDER = re.compile(r"explain(?:-(\d+))?")
EVALUATED, STRESSED, EXPLAINED = "report", "robustness", "explanations.json"
SHEET = "sheet.html"


def update_card(run: Path, bundle: Bundle, progress: Progress | None = None) -> Path | None:
    """Write the recognizer card with all that RUN holds by now.

    Args:
        run: RUN; a Bundle alone stays as it is.
        bundle: its Bundle, opened.
        progress: told of files that cannot be read and are left out.

    Returns:
        The card, or None for a Bundle alone or one without a card.

    Raises:
        StorageError: the card cannot be written.
    """
    from clearsight.core.bundle import CARD
    from clearsight.evaluate.recognizer_card import Findings, write_recognizer_card

    if bundle.path == run or CARD not in bundle.manifest.files:
        return None
    found, links = _found(run, progress or Silent())
    card = run / CARD_FILE
    base = bundle.read(CARD).decode("utf-8", "replace")
    write_recognizer_card(card, base, Findings(**found, links=links))
    return card


def _found(run: Path, progress: Progress) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the newest findings by name, and the pages that show them."""
    found: dict[str, Any] = {}
    links: dict[str, str] = {}
    for name, stem in (("evaluated", EVALUATED), ("stressed", STRESSED)):
        told = _read(run / f"{stem}.json", progress)
        if told:
            found[name], links[name] = told, f"{stem}.html"
    for folder in _explain_folders(run):
        told = _read(folder / EXPLAINED, progress) or {}
        explained = [row for row in told.get("explanations", ()) if "error" not in row]
        for name, has in (("explained", explained), ("class_maps", told.get("class_maps"))):
            if has and name not in found:
                found[name], links[name] = told, f"{folder.name}/{SHEET}"
    return found, links


def _explain_folders(run: Path) -> list[Path]:
    """Return the folders that `explain` wrote, the newest first."""
    numbered = [
        (int(match[1] or 1), path)
        for path in run.glob("explain*")
        if (match := EXPLAIN_FOLDER.fullmatch(path.name))
    ]
    return [path for _, path in sorted(numbered, reverse=True)]


def _read(path: Path, progress: Progress) -> dict[str, Any] | None:
    from clearsight.core.files import read_json

    if not path.is_file():
        return None
    try:
        told = read_json(path)
    except StorageError as error:
        progress.say("left out of the card", path=str(path), reason=str(error))
        return None
    return told if isinstance(told, dict) else None
