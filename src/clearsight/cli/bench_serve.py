"""`clearsight bench-serve URL --images FOLDER`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clearsight.cli.options import AsJson, Quiet, fail, progress_of, show
from clearsight.core.errors import ClearsightError


def bench_serve(
    url: Annotated[
        str, typer.Argument(help="The service, http:// or https://; its gRPC port for oip-grpc.")
    ],
    images: Annotated[
        list[Path],
        typer.Option("--images", help="A picture or a folder of them; may be given several times."),
    ],
    protocol: Annotated[
        str, typer.Option("--protocol", help="rest, oip-rest or oip-grpc.")
    ] = "rest",
    clients: Annotated[
        int | None,
        typer.Option("--clients", min=1, help="Closed loop: so many wait for each answer (8)."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", help="Open loop: so many a second, whatever comes back."),
    ] = None,
    time: Annotated[str, typer.Option("--time", help="How long is measured.")] = "30s",
    warm_up: Annotated[
        str, typer.Option("--warm-up", help="Load before that, not counted; 0 for none.")
    ] = "2s",
    deadline: Annotated[
        str | None,
        typer.Option("--deadline", help="Told to the service; later answers count as late."),
    ] = None,
    priority: Annotated[str, typer.Option("--priority", help="normal or batch.")] = "normal",
    model: Annotated[
        str | None, typer.Option("--model", help="Its name; needed where several are served.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Labels an answer.")] = 5,
    key: Annotated[
        str | None,
        typer.Option("--key", envvar="CLEARSIGHT_KEY", help="API key; better in CLEARSIGHT_KEY."),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="Certificate authorities to trust (PEM file).")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Same seed, same moments of an open loop.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Report to write: .html, or .json for the figures.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Put a service under load and measure it."""
    from clearsight.client.calls import PRIORITIES
    from clearsight.client.load.measure import measure, only_model
    from clearsight.client.load.plan import PROTOCOLS, LoadPlan, read_pictures
    from clearsight.client.load.report import check_suffix, write_result
    from clearsight.client.load.requests import Ask
    from clearsight.core.durations import seconds
    from clearsight.core.errors import ConfigError, nearest

    if out is not None:
        check_suffix(out)
    for name, word, allowed in (
        ("protocol", protocol, PROTOCOLS),
        ("priority", priority, PRIORITIES),
    ):
        if word not in allowed:
            raise ConfigError(f"Unknown --{name} {word!r}.{nearest(word, allowed)}")
    chosen = {
        "clients": clients,
        "rate": rate,
        "time_s": seconds(time),
        "warm_up_s": 0.0 if warm_up.strip("smh") == "0" else seconds(warm_up),
        "deadline_s": None if deadline is None else _short(deadline),
        "seed": seed,
    }
    plan = LoadPlan.parse({name: value for name, value in chosen.items() if value is not None})
    pictures = read_pictures(images)
    ask = Ask(model or "", top, plan.deadline_s, priority, key)
    if protocol != "rest" and not model:
        if protocol == "oip-grpc":
            raise ConfigError("--protocol oip-grpc needs the model's name: --model NAME.")
        ask = Ask(only_model(url, ask, ca), top, plan.deadline_s, priority, key)
    with progress_of(quiet) as progress:
        result = measure(url, pictures, plan, protocol, ask, ca, progress)
    value = result.to_json()
    if out is not None:
        write_result(out, result)
    show(as_json, value, [*result.lines(), *([f"Wrote {out}."] if out else [])])
    if not value["answered"]:
        why = ", ".join([*value["errors"], *value["statuses"]]) or "nothing was sent"
        fail(ClearsightError(f"There was no answer at all: {why}."))


def _short(text: str) -> float:
    """Read a duration that may be in milliseconds."""
    from clearsight.core.durations import seconds

    if text.strip().endswith("ms"):
        return seconds(text.strip().removesuffix("ms")) / 1000
    return seconds(text)
