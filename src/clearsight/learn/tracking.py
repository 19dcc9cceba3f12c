"""Curves for TensorBoard while a run trains, and its record for MLflow when it is done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Self

from clearsight.core.errors import MissingExtraError
from clearsight.core.progress import Progress

Tracker = Literal["tensorboard", "mlflow"]
Track = Callable[[int, Mapping[str, float]], None]
FLUSH_S = 5
EXPERIMENT = "clearsight"


def untracked(name: str) -> Track:
    """Return where the curves of a candidate go that nobody asked for: nowhere."""
    return lambda step, figures: None


def check_trackers(trackers: Sequence[Tracker]) -> None:
    """Refuse a tracker whose package is missing.

    Raises:
        MissingExtraError: what to install.
    """
    for name in trackers:
        if find_spec(name) is None:
            raise MissingExtraError(name, "tracking", f"Tracking with {name}")


class Curves:
    """Event files in RUN/tensorboard, one folder a candidate; without "tensorboard" none.

    Args:
        run: the RUN folder.
        trackers: the settings' `track`.

    Example:
        >>> with_none = Curves(Path("run"), ())
        >>> with_none.of("0-compact")(1, {"loss": 0.5})
    """

    def __init__(self, run: Path, trackers: Sequence[Tracker]) -> None:
        self._folder = run / "tensorboard" if "tensorboard" in trackers else None
        self._writers: dict[str, Any] = {}

    def of(self, name: str) -> Track:
        """Return what takes (step, figures) of a candidate."""
        if self._folder is None:
            return untracked(name)
        return lambda step, figures: self._write(name, step, figures)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Write what is not yet in the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _write(self, name: str, step: int, figures: Mapping[str, float]) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2

        values = [
            summary_pb2.Summary.Value(tag=tag, simple_value=float(value))
            for tag, value in figures.items()
        ]
        event = event_pb2.Event(
            wall_time=time.time(), step=step, summary=summary_pb2.Summary(value=values)
        )
        self._writer(name, step).add_event(event)

    def _writer(self, name: str, step: int) -> Any:
        if name not in self._writers:
            from tensorboard.compat.proto import event_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter

            assert self._folder is not None
            writer = EventFileWriter(str(self._folder / name), flush_secs=FLUSH_S)
            # A resumed run draws the steps after its checkpoint again: readers drop the old ones.
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            writer.add_event(event_pb2.Event(wall_time=time.time(), step=step, session_log=start))
            self._writers[name] = writer
        return self._writers[name]


def export_to_mlflow(run: Path, outcome: Mapping[str, Any], progress: Progress) -> None:
    """Record a finished run: settings as parameters, curve and figures as metrics, the Bundle.

    It goes to MLFLOW_TRACKING_URI, else to RUN/mlruns; after the Bundle is on disk, since
    importing MLflow alone takes seconds. A server that does not answer is said, nothing is lost.

    Args:
        run: the RUN folder with the Bundle in it.
        outcome: {"family", "settings", "seconds", "evaluate", "story"}.
        progress: told where it went.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    place = os.environ.get("MLFLOW_TRACKING_URI") or (run.resolve() / "mlruns").as_uri()
    if place.startswith("file:"):  # the other kind of local store takes half a minute to make
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        _export(MlflowClient(tracking_uri=place), run, outcome)
    except (MlflowException, OSError) as error:
        progress.say("MLflow was not told", reason=str(error).partition("\n")[0])
        return
    progress.say("MLflow was told", place=place)


def _export(client: Any, run: Path, outcome: Mapping[str, Any]) -> None:
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    number = client.create_run(experiment, run_name=run.resolve().name).info.run_id
    told = {"family": outcome["family"], "settings": outcome["settings"]}
    if "recipe" in outcome["story"]:
        told["recipe"] = outcome["story"]["recipe"]
    for name, value in _flat(told):
        client.log_param(number, name, str(value)[:500])
    for entry in outcome["story"].get("curve", ()):
        for name, value in entry.items():
            if name != "step":
                client.log_metric(number, name, float(value), step=int(entry["step"]))
    figures = {"seconds": outcome["seconds"], **outcome["evaluate"]}
    for name, value in figures.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            client.log_metric(number, f"final/{name}", float(value))
    client.set_tag(number, "clearsight.bundle", str(run.resolve() / "bundle"))
    client.set_terminated(number)


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    pairs = values.items() if isinstance(values, Mapping) else enumerate(values)
    for name, value in pairs:
        key = f"{prefix}{name}"
        if isinstance(value, (Mapping, list)) and value:
            yield from _flat(value, f"{key}.")
        elif value not in ({}, []):
            yield key, value
