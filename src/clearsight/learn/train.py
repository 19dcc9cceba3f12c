"""From a data set to a verified Bundle: split, choose, cache, fit, calibrate, gate, write."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.bundle import Bundle
from clearsight.core.calibration import fit_temperature, softmax
from clearsight.core.durations import text as duration_text
from clearsight.core.errors import DataError, ImageError
from clearsight.core.nouns import Predictor, Preprocessing, Scores
from clearsight.core.progress import Progress, Silent
from clearsight.core.seeds import generator
from clearsight.data.cache import PixelCache, build_cache
from clearsight.data.dataset import Dataset, read_dataset
from clearsight.data.facts import image_facts
from clearsight.data.fingerprint import fingerprint
from clearsight.data.split import split
from clearsight.learn.bundle_writer import Learnt, write_learnt
from clearsight.learn.choose import Candidate, shortlist
from clearsight.learn.family import FAMILIES, Budget, Facts, Family, Fitted, Job, OpenModel
from clearsight.learn.run_folder import RunFolder, RunRecord, check_same_data
from clearsight.learn.settings import TrainSettings

DECODE_SHARE = 0.4
"""Largest share of the time that decoding the training pictures may take."""

DECODE_SAMPLE = 16

Judge = Callable[[Scores, NDArray[np.int64], tuple[str, ...]], dict[str, Any]]


@dataclass(frozen=True)
class Seams:
    """What training needs from the rooms beside it, handed in by the caller.

    Args:
        open_model: opens ONNX bytes for inference.
        predictors: by engine name, opens a Bundle; the parity gate asks every one of them.
        judge: calibrated probabilities, labels, class names -> JSON-ready figures.
        card: manifest facts -> the text of card.md.
    """

    open_model: OpenModel
    predictors: Mapping[str, Callable[[Bundle], Predictor]]
    judge: Judge
    card: Callable[[dict[str, Any]], str]


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind.

    Args:
        run: the RUN folder.
        bundle: the Bundle in it.
        family: key of the family that won.
        seconds: wall clock from the start of the command until the Bundle was on disk.
        evaluation: figures on the validation part.
    """

    run: Path
    bundle: Bundle
    family: str
    seconds: float
    evaluation: dict[str, Any]


@dataclass(frozen=True)
class _Trained:
    candidate: Candidate
    family: Family
    fitted: Fitted
    preprocessing: Preprocessing
    val: PixelCache
    val_logits: Scores
    temperature: float
    figures: dict[str, Any]
    seconds: float


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
    if record is not None:
        settings, data = record.settings, Path(record.data)
        if record.state == "done":
            return _finished(folder, record)
    dataset = split(read_dataset(data), settings.seed, _fractions(settings))
    mark = fingerprint(dataset)
    if record is not None:
        check_same_data(record, mark)
    _say_found(dataset, progress)
    parts, facts = _usable(dataset, settings, progress)
    candidates = _candidates(settings, facts)
    record = RunRecord(
        state="training", data=str(data.resolve()), fingerprint=mark, settings=settings
    )
    folder.begin(record)
    folder.write_splits(dataset)
    best = _best(candidates, parts, facts, settings, seams, folder, progress, started)
    learnt = _learnt(best, parts, dataset, settings, mark)
    bundle = write_learnt(folder.bundle, learnt, seams.predictors, seams.card)
    seconds = time.monotonic() - started
    outcome = {
        "family": learnt.family,
        "seconds": round(seconds, 2),
        "evaluate": best.figures,
        "story": learnt.story,
        "quarantined": [
            {"path": item.name, "reason": item.reason, "detail": item.detail}
            for item in (*dataset.quarantined, *learnt.quarantined)
        ],
        "counts": _counts(dataset),
    }
    folder.finish(record.model_copy(update={"state": "done", "outcome": outcome}))
    return TrainResult(out, bundle, learnt.family, seconds, best.figures)


def plan(data: Path, settings: TrainSettings) -> dict[str, Any]:
    """Return what `train` would do with this data; nothing is written.

    Raises:
        DataError, UnknownKeyError, ConfigError: as `train` would.
    """
    dataset = split(read_dataset(data), settings.seed, _fractions(settings))
    _, facts = _usable(dataset, settings, Silent())
    steps = []
    for candidate in _candidates(settings, facts):
        family = _family(candidate)
        steps.append(
            {
                "family": candidate.key,
                "reason": candidate.reason,
                "input": family.preprocessing(facts).model_dump(),
                "config": family.config.model_dump(mode="json"),
            }
        )
    return {
        "counts": _counts(dataset),
        "classes": list(dataset.classes),
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
    from clearsight.core.bundle import open_bundle

    outcome = record.outcome
    return TrainResult(
        folder.path,
        open_bundle(folder.bundle),
        outcome["family"],
        outcome["seconds"],
        outcome["evaluate"],
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


def _usable(
    dataset: Dataset, settings: TrainSettings, progress: Progress
) -> tuple[dict[str, Dataset], Facts]:
    """Return the training and validation parts, cut to what can be decoded in time, and facts."""
    parts = {"train": dataset.part("train"), "val": dataset.part("val")}
    seen = image_facts(parts["train"], settings.seed)
    from_files = dataset.reader != "idx"
    if settings.time_s is not None and from_files:
        decode_s = _decode_s(parts["train"], settings.seed) / (os.cpu_count() or 1)
        affordable = int(DECODE_SHARE * settings.time_s / decode_s)
        for name, part in parts.items():
            share = affordable if name == "train" else affordable // 5
            if len(part.samples) > share:
                parts[name] = _subsample(part, max(share, len(dataset.classes)), settings.seed)
                progress.say(
                    f"Using {len(parts[name].samples)} of {len(part.samples)} pictures of {name}",
                    reason=f"decoding all would take more than {DECODE_SHARE:.0%} of --time",
                )
    facts = Facts(
        classes=dataset.classes,
        class_counts=parts["train"].counts(),
        height=seen.height,
        width=seen.width,
        grey=seen.grey,
        from_files=from_files,
        time_s=settings.time_s,
    )
    return parts, facts


def _decode_s(part: Dataset, seed: int) -> float:
    """Return the median seconds that decoding one picture takes on one core."""
    durations_s = []
    for index in generator(seed, "decode").permutation(len(part))[:DECODE_SAMPLE]:
        began = time.perf_counter()
        with contextlib.suppress(ImageError):
            part.image(int(index))
        durations_s.append(time.perf_counter() - began)
    return max(1e-6, float(np.median(durations_s)))


def _subsample(part: Dataset, size: int, seed: int) -> Dataset:
    """Keep `size` pictures, class by class in turn, so that rare classes stay whole."""
    order = generator(seed, "subsample").permutation(len(part.samples))
    seen: dict[int, int] = {}
    ranked = []
    for index in order:
        label = part.samples[index].label
        seen[label] = seen.get(label, 0) + 1
        ranked.append((seen[label], int(index)))
    return part.select(sorted(index for _, index in sorted(ranked)[:size]))


def _best(
    candidates: list[Candidate],
    parts: dict[str, Dataset],
    facts: Facts,
    settings: TrainSettings,
    seams: Seams,
    folder: RunFolder,
    progress: Progress,
    started: float,
) -> _Trained:
    """Train every candidate within its share of the time and keep the best on validation."""
    best: _Trained | None = None
    for number, candidate in enumerate(candidates):
        progress.say(f"Training {candidate.key}", reason=candidate.reason)
        budget = _budget(settings, candidates[number:], started)
        trained = _fit(candidate, parts, facts, settings, seams, folder, progress, budget, number)
        progress.say(
            f"{candidate.key}: validation accuracy {trained.figures['accuracy']:.4f}",
            seconds=f"{trained.seconds:.1f}",
        )
        if best is None or _rank(trained) > _rank(best):
            best = trained
    assert best is not None
    story = {"chosen": best.candidate.key, "reason": best.candidate.reason}
    if len(candidates) > 1:
        progress.say(f"Chose {best.candidate.key}", reason="best validation accuracy")
    return replace(best, figures=best.figures | {"choice": story})


def _candidates(settings: TrainSettings, facts: Facts) -> list[Candidate]:
    """Return what to train; every name and setting is checked before anything is written."""
    if settings.model == "auto":
        candidates = shortlist(facts, settings.time_s, settings.epochs)
    else:
        candidates = [named(settings.model, settings.family)]
    for candidate in candidates:
        _family(candidate)
    return candidates


def _family(candidate: Candidate) -> Family:
    make = FAMILIES.load(candidate.key)
    family: Family = make(make.Config.parse(candidate.config))
    return family


def named(model: str, config: dict[str, Any]) -> Candidate:
    """Return the candidate that a model name asks for: a family's key, else a timm model.

    Raises:
        UnknownKeyError: neither; the message lists the nearest names.
    """
    families = FAMILIES.keys()
    if model in families:
        return Candidate(key=model, config=config, share_of_time=1.0, reason="asked for")
    from clearsight.learn.families.timm import check_name

    check_name(model, also=families)
    return Candidate(
        key="timm", config={"name": model, **config}, share_of_time=1.0, reason="asked for"
    )


def _budget(settings: TrainSettings, left: list[Candidate], started: float) -> Budget:
    if settings.time_s is None:
        return Budget(epochs=settings.epochs)
    end = started + settings.time_s - finishing_s(settings.time_s)
    share = left[0].share_of_time / sum(candidate.share_of_time for candidate in left)
    now = time.monotonic()
    return Budget(deadline=now + share * max(0.0, end - now), epochs=settings.epochs)


def finishing_s(time_s: float) -> float:
    """Seconds kept back for export, parity gate and writing; measured, see benchmarks/learn."""
    return min(3.0 + 0.02 * time_s, 0.25 * time_s)


def _fit(
    candidate: Candidate,
    parts: dict[str, Dataset],
    facts: Facts,
    settings: TrainSettings,
    seams: Seams,
    folder: RunFolder,
    progress: Progress,
    budget: Budget,
    number: int,
) -> _Trained:
    began = time.monotonic()
    family = _family(candidate)
    preprocessing = family.preprocessing(facts)
    work = folder.work / f"{number}-{candidate.key}"
    train_cache, val_cache = (
        build_cache(parts[name], preprocessing, work / name, progress) for name in ("train", "val")
    )
    _check_usable(train_cache, val_cache, facts.classes)
    job = Job(
        train_images=train_cache.images,
        train_labels=train_cache.labels,
        val_images=val_cache.images,
        val_labels=val_cache.labels,
        classes=facts.classes,
        preprocessing=preprocessing,
        seed=settings.seed,
        budget=budget,
        work=work,
        open_model=seams.open_model,
        progress=progress,
    )
    fitted = family.fit(job)
    val_logits = fitted.logits(np.asarray(val_cache.images))
    temperature = fit_temperature(val_logits, val_cache.labels)
    figures = seams.judge(softmax(val_logits, temperature), val_cache.labels, facts.classes)
    return _Trained(
        candidate,
        family,
        fitted,
        preprocessing,
        val_cache,
        val_logits,
        temperature,
        figures,
        time.monotonic() - began,
    )


def _rank(trained: _Trained) -> tuple[float, float]:
    return (trained.figures["accuracy"], -trained.figures["log_loss"])


def _check_usable(train_cache: PixelCache, val_cache: PixelCache, classes: tuple[str, ...]) -> None:
    left = set(np.unique(train_cache.labels).tolist())
    if len(left) < 2:
        raise DataError(
            f"Training needs pictures of at least two classes; {len(left)} of the {len(classes)} "
            "classes have a readable one. Run 'clearsight check' to see every damaged file."
        )
    if len(val_cache.labels) == 0:
        raise DataError(
            "No picture is left for validation. Add pictures (at least two a class), or raise "
            "--set split.val."
        )


def _learnt(
    best: _Trained,
    parts: dict[str, Dataset],
    dataset: Dataset,
    settings: TrainSettings,
    mark: str,
) -> Learnt:
    return Learnt(
        classes=dataset.classes,
        family=best.candidate.key,
        fitted=best.fitted,
        preprocessing=best.preprocessing,
        temperature=best.temperature,
        figures=best.figures,
        fingerprint=mark,
        settings=settings,
        family_config=best.family.config.model_dump(mode="json"),
        val=parts["val"],
        val_cache=best.val,
        val_logits=best.val_logits,
        story={
            **best.fitted.story,
            "reason": best.candidate.reason,
            "training": duration_text(best.seconds),
        },
        counts=_counts(dataset),
        quarantined=best.val.quarantined,
    )
