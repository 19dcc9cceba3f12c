"""The card's section on how sure a recognizer is: sets, rejection, and what was not fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SETS = {
    "lac": "every class that is likely enough (LAC)",
    "class-conditional": "every class that is likely enough, with a bound for every class "
    "(class-conditional LAC)",
    "aps": "the likeliest classes until they add up to enough (APS)",
    "raps": "the likeliest classes until they add up to enough, long sets penalised (RAPS)",
}
WAYS = {
    "max-softmax": "the best score",
    "energy": "the energy of all scores",
    "k-nearest": "the distance from the nearest training pictures in the model's features",
    "mahalanobis": "the Mahalanobis distance from the classes' centres in the model's features",
}


def trust_section(facts: Mapping[str, Any]) -> str:
    """Return "How sure it is" for card.md; empty where nothing was fitted or refused.

    Args:
        facts: the manifest's fields as JSON values, and `story` where there is one.
    """
    told = (facts.get("story") or {}).get("trust") or {}
    lines = [
        *_sets(facts.get("conformal") or {}, told),
        *_rejection(facts.get("rejection") or {}),
        *(f"- {sentence}" for sentence in told.get("refused", ())),
    ]
    return "## How sure it is\n\n" + "\n".join(lines) if lines else ""


def _sets(conformal: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    if not conformal:
        return []
    method, level = conformal["method"], conformal["level"]
    lines = [
        f"- Every prediction carries a set of classes that holds the true one for {level} % of "
        f"pictures like those of validation: {SETS[method]}; fitted on {conformal['n']} of them"
    ]
    trial = next((one for one in told.get("sets", ()) if one["method"] == method), None)
    if trial:
        lines.append(
            f"- In cross-validation at 90 % it covered {trial['coverage']:.3f} of "
            f"{trial['n']} pictures with {trial['mean_size']:.2f} classes a set"
        )
    if conformal.get("pooled"):
        lines.append(
            f"- {len(conformal['pooled'])} classes had too few validation pictures for a bound of "
            "their own and have that of all classes"
        )
    return lines


def _rejection(rejection: Mapping[str, Any]) -> list[str]:
    if not rejection:
        return []
    method = rejection["method"]
    lines = [
        f"- A picture is not accepted when it looks unfamiliar, measured by {WAYS[method]}; "
        f"{100 * rejection['keeps']:.0f} % of {rejection['n']} validation pictures are accepted"
    ]
    parts = rejection.get("tried", {}).get(method, {})
    if parts:
        found = ", ".join(f"{kind} {value:.3f}" for kind, value in parts.items())
        lines.append(
            f"- How well that tells known from unknown (AUROC on stand-ins, 1 is best): {found}"
        )
    return lines
