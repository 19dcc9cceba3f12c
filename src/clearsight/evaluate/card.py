"""The model card: what a recognizer was trained on, how good it is, where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clearsight.evaluate.markdown import plain_text as _text
from clearsight.evaluate.trust_card import trust_section

CLASSES_NAMED = 50
WEAKEST = 10
PARTS = {"val": "the validation part", "test": "the test part", "all": "the given data"}
NOT_STRESSED = "- Disturbed, manipulated or attacked pictures were not tested."
EVEN = (
    ", with every class counting alike: they are meant for classes that are equally likely, and "
    "promise too much for a class that is rare."
)


def model_card(facts: Mapping[str, Any]) -> str:
    """Return the text of a Bundle's card.md.

    Args:
        facts: the manifest's fields as JSON values; `metrics` holds what `figures.judge` gives.
            Optional beside them: `counts` (pictures per part) and `story` (`reason`, `training`).

    Source: Mitchell et al. 2019, "Model Cards for Model Reporting" (the sections).
    """
    sections = [
        _about(facts),
        _use(facts),
        _training(facts),
        quality_section(facts.get("metrics", {})),
        trust_section(facts),
        failures_section(facts.get("metrics", {})),
        _imbalance(facts.get("story", {}).get("imbalance") or {}),
        _hardened(facts.get("story", {}).get("hardened") or {}),
        _limits(facts),
    ]
    return "\n\n".join(part for part in sections if part) + "\n"


def _about(facts: Mapping[str, Any]) -> str:
    classes: Sequence[str] = facts["classes"]
    named = ", ".join(_text(name) for name in classes[:CLASSES_NAMED])
    more = f" and {len(classes) - CLASSES_NAMED} more" if len(classes) > CLASSES_NAMED else ""
    return (
        f"# A recognizer of {len(classes)} classes\n\n"
        f"Family `{facts['family']}`, made by clearsight"
        f"{_after(' on ', facts.get('created_utc'))}{_after(', Bundle ', facts.get('id'))}.\n\n"
        f"Classes: {named}{more}."
    )


def _use(facts: Mapping[str, Any]) -> str:
    k = len(facts["classes"])
    what = {
        "multi-label": f"Saying which of these {k} classes are in a picture like the ones it was "
        "trained on: any number of them, or none. ",
        "ordinal": f"Placing pictures like the ones it was trained on on a scale of these {k} "
        "classes, in this order. ",
    }
    marks = ", but marks what looks unfamiliar as not accepted" if facts.get("rejection") else ""
    sorting = (
        f"Sorting pictures like the ones it was trained on into these {k} classes. It answers with "
        f"one of them for every picture, also for one that shows none{marks}. "
    )
    return (
        f"## Intended use\n\n{what.get(facts.get('task', ''), sorting)}"
        "It is not made for decisions about people, and where an error does harm a person must "
        "look at the picture too."
    )


def _training(facts: Mapping[str, Any]) -> str:
    story: Mapping[str, Any] = facts.get("story", {})
    lines = [f"- Pictures: {_counts(facts['counts'])}" if facts.get("counts") else ""]
    lines.append(_item("Why this family", story.get("reason")))
    lines.append(_item("Training", story.get("training")))
    lines.append(_item("Not learnt, as no training picture could be read", _names(story)))
    if size := facts.get("preprocessing"):
        colour = "grey" if size["channels"] == 1 else "colour"
        lines.append(
            f"- Model input: {size['height']} x {size['width']} pixels, {colour}, "
            f"fit: {size['fit']}"
        )
    lines.append(_item("Seed", facts.get("seed")))
    lines.append(_item("Data fingerprint", facts.get("data_fingerprint")))
    for licence in facts.get("weight_licences", ()):
        lines.append(
            f"- Pre-trained weights: {_text(licence['name'])}, licence "
            f"{_text(licence['licence'])}, from {_text(licence['source'])}"
        )
    if not facts.get("weight_licences"):
        lines.append("- Pre-trained weights: none")
    return "## What it was trained on\n\n" + "\n".join(line for line in lines if line)


def _names(story: Mapping[str, Any]) -> str:
    return ", ".join(story.get("unlearnt", ()))


def quality_section(metrics: Mapping[str, Any]) -> str:
    """Return "How good it is" from what `figures.judge` gives, and `part`."""
    if "accuracy" not in metrics:
        return ""
    part = PARTS.get(metrics.get("part", ""), "pictures it was not trained on")
    intervals: Mapping[str, Sequence[float]] = metrics.get("intervals", {})
    rows = [
        f"| {key.replace('_', ' ')} | {metrics[key]:.4f} | {low:.4f} to {high:.4f} |"
        for key, (low, high) in intervals.items()
    ]
    flattering = (
        " That part also served to choose and to calibrate the model, so the figures flatter it; "
        "`clearsight evaluate` measures on pictures it has never seen."
        if metrics.get("part") == "val"
        else ""
    )
    return (
        f"## How good it is\n\nOn {metrics['n']} pictures of {part}.{flattering}\n\n"
        "| figure | value | 95 % interval |\n|---|---|---|\n" + "\n".join(rows)
    )


def failures_section(metrics: Mapping[str, Any]) -> str:
    """Return "Where it fails" from what `figures.judge` gives."""
    per_class: Mapping[str, Mapping[str, Any]] = metrics.get("per_class", {})
    seen = [(name, item) for name, item in per_class.items() if item["n"]]
    if not seen:
        return ""
    weakest = sorted(seen, key=lambda pair: pair[1]["recall"])[:WEAKEST]
    lines = [
        f"- {_text(name)}: recall {item['recall']:.3f} "
        f"({item['recall_ci'][0]:.3f} to {item['recall_ci'][1]:.3f}, {item['n']} pictures)"
        for name, item in weakest
        if item["recall"] < 1
    ]
    text = "## Where it fails\n\n"
    text += "Weakest classes:\n\n" + "\n".join(lines) if lines else "No picture was mistaken."
    confusions = [
        f"- {_text(item['truth'])} taken for {_text(item['predicted'])}: "
        f"{item['n']} of {item['of']}"
        for item in metrics.get("confusions", ())[:WEAKEST]
    ]
    if confusions:
        text += "\n\nMost frequent confusions:\n\n" + "\n".join(confusions)
    unseen = [_text(name) for name, item in per_class.items() if not item["n"]]
    if unseen:
        named = ", ".join(unseen[:CLASSES_NAMED])
        text += f"\n\nNot judged, as no picture was held out: {named}."
    return text


def _imbalance(told: Mapping[str, Any]) -> str:
    """Return what was done about uneven classes, and what that brought on validation."""
    if not told:
        return ""
    rarest: Mapping[str, Any] = told["rarest"]
    named = ", ".join(
        f"{_text(name)} ({count})"
        for name, count in list(rarest["classes"].items())[:CLASSES_NAMED]
    )
    rows = [
        ("recall, mean of the rarest classes", rarest["recall"], rarest["val"]),
        ("balanced accuracy", told["balanced_accuracy"], told["n"]),
        ("accuracy", told["accuracy"], told["n"]),
    ]
    lines = [
        f"| {title} | {sides['before']:.3f} | {sides['after']:.3f} | {n} |"
        for title, sides, n in rows
    ]
    return (
        "## Uneven classes\n\n"
        f"The largest class has {told['ratio']:.0f} times the training pictures of the smallest. "
        f"Remedy: {remedy_text(told)}. On the validation part, without it "
        f"({told['without']}) and with it:\n\n"
        "| figure | without | with | pictures |\n|---|---|---|---|\n" + "\n".join(lines) + "\n\n"
        f"Rarest classes, with their training pictures: {named}."
    )


def _hardened(told: Mapping[str, Any]) -> str:
    """Return what it was hardened against, what that brought on validation, and its price."""
    if not told:
        return ""
    lines = [f"Trained to hold with `{told['name']}` ({hardening_options(told)})."]
    if told["accuracy"] is not None:
        low, high = told["accuracy_ci"]
        lines.append(
            f"Under {told['by']}, {told['accuracy']:.4f} of {told['n']} validation pictures are "
            f"right (95 % interval {low:.4f} to {high:.4f}); that part also chose the weights."
        )
    if (price := told.get("price")) and price["points_ci"]:
        low, high = price["points_ci"]
        lines.append(
            f"Its price on {price['n']} clean validation pictures: {price['points']:.2f} points of "
            f"accuracy (95 % interval {low:.2f} to {high:.2f}) against the same model trained "
            f"without it for {price['standard_seconds']:.0f} s."
        )
    lines.append("`clearsight stress` measures what it holds against, on pictures never seen.")
    return "## What it was hardened against\n\n" + "\n".join(lines)


def hardening_options(told: Mapping[str, Any]) -> str:
    """Return the options of a hardening in words.

    Args:
        told: `story["hardened"]`.

    Example:
        >>> hardening_options({"options": {"eps": 8 / 255, "kind": "patch"}})
        'eps 0.0314, kind patch'
    """
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in told["options"].items()
    )


def remedy_text(told: Mapping[str, Any]) -> str:
    """Return in words what was done about uneven classes.

    Args:
        told: `story["imbalance"]`.

    Example:
        >>> remedy_text({"loss": "logit-adjusted", "sampler": None, "strength": 0.1})
        'the loss logit-adjusted; 10 % of the training shares taken out of the scores'
    """
    done = [f"the {kind} {told[kind]}" for kind in ("loss", "sampler") if told[kind]]
    if told["strength"]:
        verb = "taken out of" if told["strength"] > 0 else "put into"
        share = f"{100 * abs(told['strength']):.0f} % of the training shares"
        done.append(f"{share} {verb} the scores")
    return "; ".join(done) or "none, as validation agreed with none"


def _limits(facts: Mapping[str, Any]) -> str:
    scaled = ", and a factor and an offset a class" if facts.get("vector") else ""
    even = (facts.get("story", {}).get("imbalance") or {}).get("even_classes")
    return (
        "## Limits\n\n"
        "- The figures hold for pictures that come about as the training pictures did. Measure "
        "again when camera, place, season or people change.\n"
        f"{NOT_STRESSED}\n"
        f"- Scores are probabilities calibrated on the validation part "
        f"(temperature {facts['temperature']:.3f}{scaled}){EVEN if even else '.'}\n"
        "- Wrong labels in the data were learnt, and count as mistakes in the figures."
    )


def _item(title: str, value: object) -> str:
    return "" if value in (None, "") else f"- {title}: {_text(str(value))}"


def _after(words: str, value: object) -> str:
    return f"{words}{value}" if value else ""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{value} {_text(key)}" for key, value in counts.items())
