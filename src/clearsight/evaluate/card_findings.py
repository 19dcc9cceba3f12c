"""What the recognizer card tells of evaluations, explanations and stress tests, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clearsight.core.proportions import wilson
from clearsight.evaluate.markdown import plain_text

CLASSES_NAMED = 12
KINDS_SHOWN = 8
Told = Mapping[str, Any]


def measured_trust(evaluated: Told, link: str | None = None) -> list[str]:
    """Return how sure the recognizer proved to be, one item each.

    Args:
        evaluated: what `clearsight evaluate --json` prints.
        link: where its report stands, beside the card.
    """
    lines = [
        f"- Measured on {item['n']} pictures: {level} % sets hold the true class for "
        f"{_share(item['coverage'], item['coverage_ci'])}, with {item['mean_size']:.2f} classes "
        f"a set; worst covered is {plain_text(item['worst_class'])} with "
        f"{_share(item['worst_class_coverage'], item['worst_class_coverage_ci'])}"
        for level, item in (evaluated.get("conformal") or {}).items()
    ]
    told = evaluated.get("rejection") or {}
    if told and told["threshold"] is not None:
        lines.append(
            f"- Measured on {told['n']} pictures: {_part(told['accepted'])} are accepted; of these "
            f"{_part(told['accuracy_accepted'])} are right, of the others "
            f"{_part(told['accuracy_rejected'])}"
        )
    if "ece" in evaluated and (ends := (evaluated.get("intervals") or {}).get("ece")):
        lines.append(
            f"- Scores are off by {evaluated['ece']:.4f} on average (expected calibration error, "
            f"95 % interval {ends[0]:.4f} to {ends[1]:.4f}, n = {evaluated['n']})"
        )
    worse = [item for item in evaluated.get("slices", ()) if item["worse"]]
    lines += [
        f"- Worse than the rest: {plain_text(item['column'])} {plain_text(item['value'])}, "
        f"{_share(item['accuracy'], item['accuracy_ci'])} of {item['n']} pictures right; the rest "
        f"{item['rest']:.4f}"
        for item in worse[:3]
    ]
    return [*lines, _link("All of it", link)] if link and lines else lines


def looks_section(explained: Told | None, class_maps: Told | None, links: Mapping[str, str]) -> str:
    """Return "What it looks at".

    Args:
        explained: what `clearsight explain RUN IMAGE...` wrote; None where it was not run.
        class_maps: what `clearsight explain RUN --class-maps N` wrote; None where it was not run.
        links: "explained" and "class_maps": where their sheets stand, beside the card.
    """
    lines = []
    if explained:
        lines += [*_faithful(explained), _link("The pictures", links.get("explained"))]
    if class_maps:
        lines += [_borders(class_maps["class_maps"])]
        lines += [_link("Average maps of every class", links.get("class_maps"))]
    if not lines:
        lines = ["Not looked at yet: `clearsight explain RUN IMAGE... --class-maps 20` shows it."]
    return "## What it looks at\n\n" + "\n".join(line for line in lines if line)


def breaks_section(stressed: Told | None, link: str | None = None) -> str:
    """Return "What breaks it".

    Args:
        stressed: what `clearsight stress` wrote; None where it was not run.
        link: where the robustness card stands, beside this one.
    """
    if not stressed:
        return "## What breaks it\n\nNot measured yet: `clearsight stress RUN` does."
    part = (stressed.get("about") or {}).get("part")
    where = f" of {plain_text(part)}" if part in ("test", "val") else ""
    parts = [
        f"On {stressed['n']} pictures{where}, {_share(stressed['clean'], stressed['clean_ci'])} "
        "are right as they are.",
        _kinds(stressed),
        "\n".join(
            line for line in (_corrupted(stressed), _first(stressed), *_attacked(stressed)) if line
        ),
        _link("All of it, with pictures that were lost", link).removeprefix("- "),
    ]
    return "## What breaks it\n\n" + "\n\n".join(part for part in parts if part)


def _faithful(explained: Told) -> list[str]:
    rows = [row for row in explained["explanations"] if "error" not in row]
    good = sum(row["faithful"] for row in rows)
    lines = [
        f"- Explained by `{explained['method']}`: on {good} of {len(rows)} pictures "
        f"({_ends(wilson(good, len(rows)))}) the map finds what the answer stands on better than a "
        "random map and one of the centre; the other maps are not to be trusted"
    ]
    check = explained.get("weights_check")
    if check:
        verdict = (
            "so the maps come from what was learnt"
            if check["passed"]
            else "so they show little of what was learnt: none counts as faithful"
        )
        lines.append(
            f"- With random weights maps are alike to {check['similarity']:.2f} of 1 "
            f"(n = {check['n']}), {verdict}"
        )
    return lines


def _borders(rows: Sequence[Told]) -> str:
    doubtful = [row for row in rows if row["suspicious"]]
    if not doubtful:
        return (
            f"- In none of {len(rows)} classes does much of the evidence lie in the border of the "
            "pictures, on average maps"
        )
    named = ", ".join(
        f"{plain_text(row['label'])} ({row['border_share']:.0%} of the evidence in "
        f"{row['border_area']:.0%} of the area, n = {row['n']})"
        for row in doubtful[:CLASSES_NAMED]
    )
    more = f" and {len(doubtful) - CLASSES_NAMED} more" if len(doubtful) > CLASSES_NAMED else ""
    return (
        f"- In {len(doubtful)} of {len(rows)} classes much of the evidence lies in the border of "
        f"the pictures, where a thing rarely is. It may be a shortcut: {named}{more}"
    )


def _kinds(stressed: Told) -> str:
    """Return a table of the kinds that cost most."""
    ends: Told = stressed.get("intervals") or {}
    rates = [
        (kind, by, (ends.get(group) or {}).get(kind, {}))
        for group in ("corruptions", "deformations")
        for kind, by in stressed[group].items()
        if by
    ]
    if not rates:
        return ""
    worst = sorted(rates, key=lambda row: sum(row[1].values()) / len(row[1]))[:KINDS_SHOWN]
    every = sorted({severity for _, by, _ in worst for severity in by}, key=int)
    shown = sorted({every[0], every[len(every) // 2], every[-1]}, key=int)
    head = " | ".join(["changed by", *(f"right at severity {one}" for one in shown)])
    lines = [f"| {head} |", "|---" * (len(shown) + 1) + "|"]
    for kind, by, by_ends in worst:
        cells = [_cell(by.get(one), by_ends.get(one)) for one in shown]
        lines.append(f"| {plain_text(kind.replace('_', ' '))} | {' | '.join(cells)} |")
    title = f"The {len(worst)} of {len(rates)} kinds of change that cost most"
    return f"{title} (95 % intervals):\n\n" + "\n".join(lines)


def _cell(value: float | None, ends: Sequence[float] | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else "")


def _corrupted(stressed: Told) -> str:
    mean, relative = stressed.get("mce"), stressed.get("relative_mce")
    if not mean or not relative:
        return ""
    return (
        f"- Mean corruption error over {stressed['mce_kinds']} published kinds: {_mean(mean)}; "
        f"beyond the errors on unchanged pictures: {_mean(relative)}"
    )


def _first(stressed: Told) -> str:
    failed = [row for row in stressed["class_failures"] if row["severity"] is not None]
    judged = [row for row in stressed["class_failures"] if row["judged"]]
    if not failed:
        return f"- None of {len(judged)} classes fell below half of its clean recall"
    row = failed[0]
    kinds = [kind for kind, severity in row["kinds"].items() if severity == row["severity"]]
    named = ", ".join(plain_text(kind.replace("_", " ").replace("-", " ")) for kind in kinds[:4])
    return (
        f"- {len(failed)} of {len(judged)} classes fall below half of their clean recall. The "
        f"first is {plain_text(row['name'])}, at severity {row['severity']} ({named}; "
        f"n = {row['n']})"
    )


def _attacked(stressed: Told) -> list[str]:
    about, ends = stressed.get("attack"), (stressed.get("intervals") or {}).get("attacks", {})
    if not about or not stressed["attacks"]:
        return []
    worst = min(stressed["attacks"], key=lambda key: float(stressed["attacks"][key]))
    name = "all attacks together" if worst == "ensemble" else plain_text(worst.replace("_", "-"))
    lines = [
        f"- Attacks that change no pixel by more than {255 * about['epsilon']:.3g} of 255 leave "
        f"{_share(stressed['attacks'][worst], ends.get(worst))} of {about['n']} pictures right "
        f"({name}); {about['clean']:.4f} are right unharmed"
    ]
    if about["black_box"]:
        lines.append("- Only black-box attacks were run; attacks with gradients may find more")
    elif not about["trusted"]:
        lines.append("- Its gradients seem to hide weakness: a stronger attack may find more")
    told = stressed.get("certificate")
    if told:
        lines.append(
            f"- Smoothed with noise of {told['sigma']:g}, {_share(told['accuracy'], None)} of "
            f"{told['n']} pictures are right ({_ends(told['accuracy_ci'])})"
        )
    return lines


def _share(value: float, ends: Sequence[float] | None) -> str:
    return f"{value:.4f}" + (f" ({_ends(ends)})" if ends else "")


def _part(told: Told) -> str:
    return "none" if told["value"] is None else f"{_share(told['value'], told['ci'])}"


def _ends(ends: Sequence[float]) -> str:
    return f"95 % interval {ends[0]:.4f} to {ends[1]:.4f}"


def _mean(told: Told) -> str:
    return f"{told['value']:.4f} (95 % interval {told['low']:.4f} to {told['high']:.4f})"


def _link(words: str, place: str | None) -> str:
    return f"- {words}: [{place}]({place})" if place else ""
