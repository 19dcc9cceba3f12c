"""`clearsight stress RUN [DATA]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clearsight.cli.options import AsJson, EngineName, Quiet, Run, fail, progress_of, show

if TYPE_CHECKING:
    from clearsight.robust.robustness import Robustness


def stress(
    run: Run,
    data: Annotated[
        Path | None, typer.Argument(help="Default: the test part of what RUN was trained on.")
    ] = None,
    suite: Annotated[
        str, typer.Option("--suite", help="corruptions, deformations, attacks or all.")
    ] = "all",
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Measure a random sample of so many pictures.")
    ] = 1000,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only this corruption or deformation; can be repeated."),
    ] = None,
    severity: Annotated[
        list[int] | None, typer.Option("--severity", help="Only this one, 1-5; can be repeated.")
    ] = None,
    epsilon: Annotated[
        float,
        typer.Option("--epsilon", help="How far attacks may change a pixel, of 0-1 (Linf)."),
    ] = 8 / 255,
    attack_limit: Annotated[
        int, typer.Option("--attack-limit", min=1, help="Attack at most so many pictures.")
    ] = 100,
    certify: Annotated[
        float | None,
        typer.Option("--certify", help="Certify 50 pictures with noise of this deviation, 0-1."),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option("--fail-on", help="Exit with 3, for example when 'fog@3<0.6'; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The card; default RUN/robustness.html.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same sample.")] = 0,
    engine: EngineName = None,
    variant: Annotated[
        str | None, typer.Option("--variant", help="A variant that optimize stored, such as int8.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure what breaks a recognizer, and write the robustness card."""
    from clearsight import api
    from clearsight.core.errors import GateError

    with progress_of(quiet) as progress:
        found, card, failed = api.stress_run(
            run,
            data,
            out,
            suite=suite,
            limit=limit,
            kinds=kind or (),
            severities=severity or (1, 2, 3, 4, 5),
            epsilon=epsilon,
            attack_limit=attack_limit,
            certify=certify,
            fail_on=fail_on or (),
            engine=engine,
            variant=variant,
            seed=seed,
            progress=progress,
        )
    show(
        as_json,
        {**found.to_json(), "card": str(card), "failed_gates": failed},
        [*_lines(found), f"Card: {card}"],
    )
    if failed:
        fail(GateError("Not met: " + "; ".join(failed)))


def _lines(found: Robustness) -> list[str]:
    """Return what a person reads."""
    low, high = found.clean.interval
    lines = [f"Clean {found.clean.accuracy:.4f} (95 % CI {low:.4f}-{high:.4f}, n {found.n})"]
    if found.mce is not None and found.relative_mce is not None:
        lines.append(
            f"Mean corruption error {found.mce.value:.4f} (95 % CI {found.mce.low:.4f}-"
            f"{found.mce.high:.4f}), {found.relative_mce.value:.4f} beyond the clean error"
        )
    for rates in (found.corruptions, found.deformations):
        for kind, by in rates.items():
            each = " ".join(f"{rate.accuracy:.3f}" for rate in by.values())
            lines.append(f"  {kind:<20} {each}")
    if found.attacks is not None:
        lines.append(
            f"Under attack (Linf {found.attacks.epsilon:.4f}, n {found.attacks.clean.n}, clean "
            f"{found.attacks.clean.accuracy:.3f})"
        )
        for key, rate in found.attacks.rates.items():
            low, high = rate.interval
            lines.append(f"  {key:<20} {rate.accuracy:.3f} (95 % CI {low:.3f}-{high:.3f})")
        lines += [
            f"  hidden gradients: {sign.kind} ({sign.n} of {sign.of})"
            for sign in found.attacks.signs
        ]
    if found.certificate is not None:
        proven = found.certificate
        lines.append(
            f"Certified with noise {proven.sigma:g}: {proven.right} of {proven.n} right, "
            f"{proven.abstained} without an answer"
        )
    return lines
