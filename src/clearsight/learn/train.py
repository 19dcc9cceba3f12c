"""From a data set to a verified Bundle: split, choose, cache, fit, calibrate, gate, write."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearsight.core.bundle import Bundle, open_bundle
from clearsight.core.durations import text as duration_text
from clearsight.core.progress import Progress, Silent
from clearsight.data.dataset import Dataset, read_dataset
from clearsight.data.fingerprint import fingerprint
from clearsight.data.split import split
from clearsight.learn.bundle_writer import Learnt, write_learnt
from clearsight.learn.contest import (
    Contest,
    Seams,
    Trained,
    build_family,
    facts_for,
    find_candidates,
    finishing_s,
)
from clearsight.learn.hardened_price import price_s, with_price
from clearsight.learn.imbalance import Imbalance, find_remedy, say_imbalance
from clearsight.learn.inputs import Parts, affordable_parts, cut, find_facts, task_of
from clearsight.learn.run_folder import RunFolder, RunRecord, check_same_data
from clearsight.learn.search.race import Race
from clearsight.learn.settings import TrainSettings
from clearsight.learn.tracking import export_to_mlflow
from clearsight.learn.trust import Trust, fit_trust


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind.

    Args:
        run: the RUN folder.
        bundle: the Bundle in it.
        family: key of the family that won.
        seconds: wall clock from the start of the command until the Bundle was on disk.
        evaluation: figures on the validation part.
        hardened: what hardening brought and cost there, see `learn.hardened`; None without it.
    """

    run: Path
    bundle: Bundle
    family: str
    seconds: float
    evaluation: dict[str, Any]
    hardened: dict[str, Any] | None = None


def train(
    data: Path,
    out: Path,
    settings: TrainSettings,
    seams: Seams,
    progress: Progress,
    started: float | None = None,
    resume: bool = False,
) -> TrainResult:
    """Train a recognizer and write RUN with a verified Bundle in it.

    Args:
        data: the data set, see `data.dataset.read_dataset`.
        out: the RUN folder; must be new or empty unless `resume`.
        settings: what to do.
        seams: the rooms beside this one.
        progress: where to report.
        started: `time.monotonic()` of the start of the command; the time budget counts from it.
        resume: continue the unfinished run in `out` with the settings it began with.

    Raises:
        DataError: the data set cannot be used.
        UsageError: `out` is in use, or an option is wrong.
        GateError: the exported model disagrees with the trained one; no Bundle is written.
        InterruptedRun: stopped from outside; `resume` continues.
    """
    started = time.monotonic() if started is None else started
    folder = RunFolder(out)
    record = folder.open(resume)
    if record is not None and record.state == "done":
        return _finished(folder, record)
    if record is None:
        dataset, record, parts = _start(data, settings, progress)
    else:
        dataset, parts = _continue(record)
    settings = record.settings
    _say_found(dataset, progress)
    facts = find_facts(parts, settings)
    say_imbalance(facts, settings.imbalance, progress)
    candidates = find_candidates(settings, facts)
    folder.begin(record)
    folder.write_splits(dataset)
    contest = Contest(parts, facts, settings, seams, folder.work, progress)
    end = end_of_race(settings, started)
    race = Race(contest, end if end is None else end - price_s(settings))
    best = race.run(candidates)
    best = with_price(contest, best, end)
    return conclude(folder, record, dataset, contest, best, started, race.told())


def conclude(
    folder: RunFolder,
    record: RunRecord,
    dataset: Dataset,
    contest: Contest,
    best: Trained,
    started: float,
    told: Mapping[str, Any],
) -> TrainResult:
    """Write the Bundle of the chosen recognizer and close the run.

    Args:
        folder, record: of the run.
        dataset: split.
        contest: where it was trained.
        best: the chosen one.
        started: `time.monotonic()` of the start of the command.
        told: what to add to its story: how it was chosen.

    Raises:
        GateError: the exported model disagrees with the trained one; no Bundle is written.
    """
    model = best.fitted.onnx_model()
    trust = fit_trust(best, contest, model)
    learnt = _learnt(best, model, trust, contest.parts["val"], dataset, record, told)
    seams = contest.seams
    bundle = write_learnt(folder.bundle, learnt, seams.predictors, seams.card, seams.open_for_few)
    seconds = time.monotonic() - started
    outcome = {
        "family": learnt.family,
        "seconds": round(seconds, 2),
        "evaluate": trust.figures,
        "story": learnt.story,
        "quarantined": [
            {"path": item.name, "reason": item.reason, "detail": item.detail}
            for item in (*dataset.quarantined, *best.quarantined)
        ],
        "counts": _counts(dataset),
    }
    folder.keep_sheet(learnt.story)
    folder.finish(record.model_copy(update={"state": "done", "outcome": outcome}))
    if "mlflow" in record.settings.track:
        told_settings = {"settings": record.settings.model_dump(mode="json")}
        export_to_mlflow(folder.path, outcome | told_settings, contest.progress)
    return TrainResult(folder.path, bundle, learnt.family, seconds, trust.figures, best.hardened)


def end_of_race(settings: TrainSettings, started: float) -> float | None:
    """Return the `time.monotonic()` at which the best must be known, or None."""
    if settings.time_s is None:
        return None
    return started + settings.time_s - finishing_s(settings.time_s)


def _start(
    data: Path, settings: TrainSettings, progress: Progress
) -> tuple[Dataset, RunRecord, Parts]:
    dataset = divide(data, settings)
    parts = affordable_parts(dataset, settings, progress)
    record = RunRecord(
        state="training",
        data=str(data.resolve()),
        fingerprint=fingerprint(dataset),
        settings=settings,
        pictures={name: len(part) for name, part in parts.items()},
    )
    return dataset, record, parts


def _continue(record: RunRecord) -> tuple[Dataset, Parts]:
    dataset = split_as_trained(read_dataset(Path(record.data)), record)
    whole = {"train": dataset.part("train"), "val": dataset.part("val")}
    return dataset, cut(whole, record.pictures, record.settings.seed)


def divide(data: Path, settings: TrainSettings) -> Dataset:
    """Read a data set and split it as the settings say.

    Raises:
        DataError: it cannot be used.
    """
    return split(read_dataset(data), settings.seed, _fractions(settings))


def plan(data: Path, settings: TrainSettings) -> dict[str, Any]:
    """Return what `train` would do with this data; nothing is written.

    Raises:
        DataError, UnknownKeyError, ConfigError: as `train` would.
    """
    dataset = divide(data, settings)
    facts = find_facts(affordable_parts(dataset, settings, Silent()), settings)
    remedy = find_remedy(facts, settings.imbalance)
    steps = []
    for candidate in find_candidates(settings, facts):
        family, own = build_family(candidate), facts_for(candidate, facts, settings.harden)
        training = settings.training
        if remedy is not None:
            training = remedy.training(training, family.capabilities.gradients)
        steps.append(
            {
                "family": candidate.key,
                "reason": candidate.reason,
                "share_of_time": candidate.share_of_time,
                "input": family.preprocessing(own).model_dump(),
                "config": family.config.model_dump(mode="json"),
                "training": training.model_dump(mode="json", exclude_none=True),
            }
        )
    return {
        "counts": _counts(dataset),
        "classes": list(dataset.classes),
        "imbalance": {
            "ratio": round(Imbalance(facts.class_counts).ratio, 2),
            "handled": remedy is not None,
        },
        "settings": settings.model_dump(mode="json"),
        "candidates": steps,
    }


def split_as_trained(dataset: Dataset, record: RunRecord) -> Dataset:
    """Split a data set exactly as the run did.

    Raises:
        DataError: the data set has changed since.
    """
    divided = split(dataset, record.settings.seed, _fractions(record.settings))
    check_same_data(record, fingerprint(divided))
    return divided


def _finished(folder: RunFolder, record: RunRecord) -> TrainResult:
    outcome = record.outcome
    return TrainResult(
        folder.path,
        open_bundle(folder.bundle),
        outcome["family"],
        outcome["seconds"],
        outcome["evaluate"],
        outcome["story"].get("hardened"),
    )


def _fractions(settings: TrainSettings) -> tuple[float, float, float]:
    val, test = settings.split.val, settings.split.test
    return (1.0 - val - test, val, test)


def _counts(dataset: Dataset) -> dict[str, int]:
    counts = dict.fromkeys(("train", "val", "test"), 0)
    for sample in dataset.samples:
        if sample.part is not None:
            counts[sample.part] += 1
    return counts | {
        "found": dataset.found,
        "quarantined": len(dataset.quarantined),
        "skipped": len(dataset.skipped),
    }


def _say_found(dataset: Dataset, progress: Progress) -> None:
    progress.say(
        f"Found {dataset.found} files", **_counts(dataset) | {"classes": len(dataset.classes)}
    )
    for item in dataset.quarantined[:10]:
        progress.say(f"Quarantined {item.name}", reason=item.reason)
    if len(dataset.quarantined) > 10:
        progress.say(f"... and {len(dataset.quarantined) - 10} more, all in splits.jsonl")


def _learnt(
    best: Trained,
    model: bytes,
    trust: Trust,
    val: Dataset,
    dataset: Dataset,
    record: RunRecord,
    told: Mapping[str, Any],
) -> Learnt:
    return Learnt(
        classes=dataset.classes,
        family=best.candidate.key,
        fitted=best.fitted,
        preprocessing=best.preprocessing,
        model=model,
        trust=trust,
        fingerprint=record.fingerprint,
        settings=record.settings,
        family_config=best.family.config.model_dump(mode="json"),
        val=val,
        val_cache=best.val,
        val_logits=best.val_logits,
        story={
            **best.fitted.story,
            "reason": best.candidate.reason,
            "training": duration_text(best.seconds),
            **told,
            "trust": trust.told,
            **({"unlearnt": list(best.unlearnt)} if best.unlearnt else {}),
            **({"hardened": best.hardened} if best.hardened else {}),
        },
        counts=_counts(dataset),
        task=task_of(dataset, record.settings),
    )
