"""The card of an imported recognizer: what is known of it, and what is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLASSES_NAMED = 50


def import_card(about: Mapping[str, Any]) -> str:
    """Return the text of card.md.

    Args:
        about: the manifest's fields, see `core.bundle.Manifest`.
    """
    told = about["config"]["import"]
    classes = [_plain(name) for name in about["classes"]]
    more = f" and {len(classes) - CLASSES_NAMED} more" if len(classes) > CLASSES_NAMED else ""
    licences = [
        f"- Weights: {_plain(item['name'])}, licence {_plain(item['licence'])}, from "
        f"{_plain(item['source'])}"
        for item in about["weight_licences"]
    ]
    size = about["preprocessing"]
    lines = [
        f"# An imported recognizer of {len(classes)} classes",
        f"Made by clearsight on {about['created_utc']} from the {told['format']} model "
        f"{_plain(told['model'])}, Bundle {about['id']}.",
        f"Classes: {', '.join(classes[:CLASSES_NAMED])}{more}.",
        "## What is known",
        "\n".join(
            [
                f"- SHA-256 of the model: {told.get('sha256', 'unknown')}",
                f"- Model input: {size['height']} x {size['width']} pixels, "
                f"{'grey' if size['channels'] == 1 else 'colour'}, fit: {size['fit']}",
                *(licences or ["- Weights: origin and licence are not known to clearsight"]),
            ]
        ),
        "## How good it is",
        _quality(about),
        "## Limits",
        "- What it was trained on is not known here: pictures that the figures stand on may have "
        "been among them.\n- Disturbed, manipulated or attacked pictures were not tested.",
    ]
    return "\n\n".join(lines) + "\n"


def _quality(about: Mapping[str, Any]) -> str:
    metrics = about["metrics"]
    if not metrics:
        return (
            "It was imported without pictures: its accuracy is not known here, and its scores are "
            "as the model gives them, not calibrated. Import it again with --data."
        )
    low, high = metrics["accuracy_ci"]
    return (
        f"On {metrics['n']} given pictures: accuracy {metrics['accuracy']:.4f} (95 % interval "
        f"{low:.4f} to {high:.4f}). Its scores were calibrated on the same pictures (temperature "
        f"{about['temperature']:.3f})."
    )


def _plain(text: object) -> str:
    """Return text so that Markdown shows it as it is: one line, nothing interpreted."""
    visible = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]<>#|&" else letter for letter in visible)
