"""`clearsight evaluate RUN [DATA]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clearsight.cli.options import AsJson, EngineName, Quiet, Run, progress_of, show


def evaluate(
    run: Run,
    data: Annotated[
        Path | None, typer.Argument(help="Default: the test part of what RUN was trained on.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The report; default RUN/report.html.")
    ] = None,
    engine: EngineName = None,
    variant: Annotated[
        str | None, typer.Option("--variant", help="A variant that optimize stored, such as int8.")
    ] = None,
    test_time: Annotated[
        str | None,
        typer.Option(
            "--test-time",
            help="flips: mean of a picture and its mirror image; adapt: fit inner statistics to "
            "these pictures. The gain is measured.",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score a recognizer on held-out pictures and write the report."""
    from clearsight import api

    with progress_of(quiet) as progress:
        evaluation, report = api.evaluate_run(
            run, data, out, engine, progress, variant=variant, test_time=test_time
        )
        gain = api.answering_gain(run, data, test_time, engine, variant) if test_time else None
    figures = evaluation.to_json()
    low, high = figures["accuracy_ci"]
    trust = [*_set_lines(figures), *_rejection_lines(figures), *_slice_lines(figures)]
    show(
        as_json,
        {**figures, "report": str(report)}
        | ({"variant": variant} if variant else {})
        | ({"test_time": gain} if gain else {}),
        [
            f"Accuracy {figures['accuracy']:.4f} (95 % CI {low:.4f}-{high:.4f}, n {figures['n']}), "
            f"balanced {figures['balanced_accuracy']:.4f}, macro F1 {figures['macro_f1']:.4f}, "
            f"worst class recall {figures['worst_class_recall']:.4f}",
            f"Log-loss {figures['log_loss']:.4f}, calibration error {figures['ece']:.4f}",
            *trust,
            *_gain_lines(gain),
            f"Report: {report}",
        ],
    )


def _set_lines(figures: dict[str, Any]) -> list[str]:
    return [
        f"Sets of {level} %: cover {item['coverage']:.4f} (95 % CI {item['coverage_ci'][0]:.4f}-"
        f"{item['coverage_ci'][1]:.4f}, n {item['n']}), {item['mean_size']:.2f} classes each, "
        f"worst class {item['worst_class']} {item['worst_class_coverage']:.4f}"
        for level, item in figures["conformal"].items()
    ]


def _rejection_lines(figures: dict[str, Any]) -> list[str]:
    told = figures["rejection"]
    if told is None or told["threshold"] is None:
        return []
    accepted, right = told["accepted"], told["accuracy_accepted"]
    among = "none" if right["value"] is None else f"{right['value']:.4f} of them right"
    return [f"Accepted by {told['method']}: {accepted['value']:.4f} of {accepted['n']}, {among}"]


def _slice_lines(figures: dict[str, Any]) -> list[str]:
    return [
        f"Worse than the rest: {item['column']} {item['value']}: {item['accuracy']:.4f} (95 % CI "
        f"{item['accuracy_ci'][0]:.4f}-{item['accuracy_ci'][1]:.4f}, n {item['n']}), the rest "
        f"{item['rest']:.4f}"
        for item in figures["slices"]
        if item["worse"]
    ][:3]


def _gain_lines(gain: dict[str, Any] | None) -> list[str]:
    if gain is None or gain["points_ci"] is None:
        return []
    low, high = gain["points_ci"]
    return [
        f"{gain['way']} brings {gain['points']:+.2f} points of accuracy (95 % CI {low:+.2f} to "
        f"{high:+.2f}, n {gain['n']}): {gain['plain']:.4f} without"
    ]
