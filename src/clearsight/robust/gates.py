"""Gates for continuous integration: `fog@3<0.6` fails when fog of severity 3 leaves less."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clearsight.core.errors import UsageError, nearest
from clearsight.robust.attacked import ENSEMBLE
from clearsight.robust.plan import Plan
from clearsight.robust.robustness import Rates, Robustness, mean_accuracy, underscored

GATE = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:@\s*(\d+))?\s*([<>])\s*([0-9.]+)\s*")
FORM = "A gate is NAME<NUMBER, NAME>NUMBER or KIND@SEVERITY<NUMBER, for example 'fog@3<0.6'"


@dataclass(frozen=True, slots=True)
class Gate:
    """When a stress test has failed.

    Args:
        text: as it was written.
        name: a figure or a kind, with underscores.
        severity: of the kind; None takes the mean over severities.
        below: it fails where the figure is below the limit, else where it is above.
        limit: in [0, 1].
    """

    text: str
    name: str
    severity: int | None
    below: bool
    limit: float


def parse_gates(texts: Iterable[str], plan: Plan) -> list[Gate]:
    """Read gates, before anything is measured.

    Args:
        texts: as written on the command line.
        plan: what will be measured.

    Raises:
        UsageError: not of the form, a limit outside [0, 1], or a figure that is not measured.
    """
    return [_parse(text, plan) for text in texts]


def unmet(gates: Sequence[Gate], found: Robustness) -> list[str]:
    """Return, for every gate that fails, one line that says why."""
    lines = []
    for gate in gates:
        value = _value(gate, found)
        if value < gate.limit if gate.below else value > gate.limit:
            lines.append(f"{gate.text}: it is {value:.4f} (n {found.n})")
    return lines


def _parse(text: str, plan: Plan) -> Gate:
    match = GATE.fullmatch(text)
    try:
        limit = float(match[4]) if match else -1.0
    except ValueError:
        limit = -1.0
    if match is None or not 0 <= limit <= 1:
        raise UsageError(f"{FORM}, with a number from 0 to 1; got {text!r}.")
    name, severity = underscored(match[1]), int(match[2]) if match[2] else None
    measured = _measured(plan)
    if name not in measured:
        raise UsageError(
            f"The gate {text!r} is on {name!r}, which is not measured.{nearest(name, measured)}"
        )
    if severity is not None and severity not in measured[name]:
        allowed = ", ".join(map(str, sorted(measured[name]))) or "none"
        raise UsageError(f"{name!r} has no severity {severity} here. Allowed: {allowed}.")
    return Gate(text, name, severity, match[3] == "<", limit)


def _measured(plan: Plan) -> dict[str, set[int]]:
    """Return every figure that a gate may name, with its severities."""
    names: dict[str, set[int]] = {"clean": set()}
    for view in plan.views:
        names.setdefault(view.suite, set())
        names.setdefault(underscored(view.kind), set()).add(view.severity)
        if view.distortion.group == "published":
            names |= {"mce": set(), "relative_mce": set()}
    for key in plan.attacks:
        names |= {underscored(key): set(), ENSEMBLE: set()}
    if plan.sigma is not None:
        names["certified"] = set()
    return names


def _value(gate: Gate, found: Robustness) -> float:
    rates: Rates = {**found.corruptions, **found.deformations}
    named = {underscored(kind): by for kind, by in rates.items()}
    if gate.name in named:
        by = named[gate.name]
        return by[gate.severity].accuracy if gate.severity else mean_accuracy({"": by})
    if found.attacks is not None:
        attacks = {underscored(key): rate for key, rate in found.attacks.rates.items()}
        if gate.name in attacks:
            return attacks[gate.name].accuracy
    if gate.name == "mce" and found.mce is not None:
        return found.mce.value
    if gate.name == "relative_mce" and found.relative_mce is not None:
        return found.relative_mce.value
    if gate.name == "certified" and found.certificate is not None:
        return found.certificate.right / found.certificate.n
    if gate.name in ("corruptions", "deformations"):
        return mean_accuracy(getattr(found, gate.name))
    return found.clean.accuracy
