"""Makes a recognizer smaller or faster: convert, measure the loss, store it only if it pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clearsight.convert.gate import Answers, Drop, answers, drop_between
from clearsight.convert.half import with_half_weights
from clearsight.convert.quantize import Quantizer
from clearsight.convert.rewrite import add_variant
from clearsight.convert.speed import SpeedUp, machine, measure_speed_up
from clearsight.core.agreement import agreement
from clearsight.core.bundle import MODEL, Bundle, open_bundle
from clearsight.core.errors import BundleError, ClearsightError, DataError, GateError, ImageError
from clearsight.core.nouns import ImagesNHWC
from clearsight.core.progress import Progress, Silent
from clearsight.core.seeds import generator
from clearsight.core.variants import OnEngine, Precision, Variant
from clearsight.data.dataset import Dataset
from clearsight.engines.golden import golden_pictures, verify_golden
from clearsight.engines.open import (
    FASTEST,
    capabilities,
    compute_of,
    open_predictor,
    open_session,
)
from clearsight.engines.predictor import BundlePredictor

CALIBRATION_PICTURES = 300
CALIBRATION_BYTES = 512 * 1024 * 1024
TIMED_PICTURES = 64
TIMED_BYTES = 64 * 1024 * 1024
PAYS = 1.05
"""A variant pays where it is at least this much faster than fp32 on some engine."""
LEAST_TOLERANCE, HEADROOM = 0.02, 2.0


@dataclass(frozen=True)
class Measured:
    """One variant on one engine.

    Args:
        engine: its key.
        drop: what it loses.
        speed: how much faster it is; None where it lost too much to be timed.
    """

    engine: str
    drop: Drop
    speed: SpeedUp | None = None


@dataclass(frozen=True)
class Optimized:
    """What `optimize` did.

    Args:
        bundle: with the variant in it.
        key: of the variant.
        measured: every engine that it was tried on, those it is not allowed on as well.
    """

    bundle: Bundle
    key: str
    measured: tuple[Measured, ...]

    @property
    def variant(self) -> Variant:
        """What the manifest says of it."""
        return self.bundle.manifest.variants[self.key]

    def to_json(self) -> dict[str, Any]:
        """Return the object that `clearsight optimize --json` prints."""
        return {
            "bundle": str(self.bundle.path),
            "id": self.bundle.manifest.id,
            "variant": self.key,
            **self.variant.model_dump(mode="json"),
            "bytes": self.bundle.manifest.files[self.variant.file].size,
            "bytes_fp32": self.bundle.manifest.files[MODEL].size,
        }


def optimize(
    source: Path,
    calibration: Dataset,
    validation: Dataset,
    precision: Precision,
    max_drop: float = 0.5,
    limit: int | None = None,
    keep_slower: bool = False,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Optimized:
    """Store the recognizer's model in a lower precision as a variant of its Bundle.

    Args:
        source: a Bundle or RUN.
        calibration: pictures that show the ranges of activations; their labels are not used.
        validation: labelled pictures for the gate, none of them of the test part.
        precision: "int8", "fp16" or "bf16".
        max_drop: most points of accuracy (of 100) that may be lost.
        limit: score a random sample of so many validation pictures.
        keep_slower: store it where it is not faster as well.
        out: a new folder for the Bundle; None replaces it where it is.
        progress: where to report.

    Raises:
        GateError: it loses more than `max_drop`, or is not faster; nothing has changed.
        MissingExtraError: NNCF or onnx is not installed.
        BundleError, DataError: the Bundle or the data cannot be used.
    """
    progress = progress or Silent()
    bundle = open_bundle(source)
    rows = sample(validation, limit, bundle.manifest.seed) if limit else validation
    trial = _Trial(bundle, rows, precision, progress)
    content, made_with, first = _find(trial, calibration, max_drop)
    measured = [first, *trial.on_others(content, first.engine)]
    allowed = [item for item in measured if item.drop.value <= max_drop]
    for item in measured:
        if item not in allowed:
            progress.say(f"Not for {item.engine}: it loses {item.drop}")
    timed = [trial.timed(content, item) for item in allowed]
    _say_speed(timed, progress)
    if not keep_slower:
        _check_pays(bundle, precision, content, timed)
    variant = _variant(precision, timed, made_with, trial.tolerance(content, timed))
    written = add_variant(bundle, precision, variant, content, _golden_gate(precision), out)
    return Optimized(written, precision, tuple(timed))


class _Trial:
    """Runs forms of one model on its engines; fp32 answers once."""

    def __init__(
        self, bundle: Bundle, validation: Dataset, precision: Precision, progress: Progress
    ) -> None:
        self.bundle, self.precision, self.progress = bundle, precision, progress
        self.validation = validation
        usable = {state.engine for state in capabilities() if state.usable}
        self.engines = [key for key in FASTEST if key in usable]
        self.model = bundle.read(MODEL)
        progress.say(f"Scoring fp32 on {len(validation)} validation pictures")
        self._before: Answers = answers(
            open_predictor(bundle, self.engines[0]), validation, progress
        )

    def form(self, content: bytes, engine: str) -> BundlePredictor:
        """Open a form of the model on an engine."""
        session = open_session(content, engine, compute=compute_of(self.precision))
        return BundlePredictor(self.bundle, session)

    def drop(self, content: bytes, engine: str) -> Drop:
        """Return what a form loses on an engine."""
        after = answers(self.form(content, engine), self.validation, self.progress)
        return drop_between(self._before, after, self.bundle.manifest.seed)

    def on_others(self, content: bytes, done: str) -> Iterator[Measured]:
        """Yield what it loses on every other engine that runs it."""
        for engine in self.engines:
            if engine == done:
                continue
            try:
                yield Measured(engine, self.drop(content, engine))
            except BundleError as error:
                self.progress.say(f"Not for {engine}: it cannot run it", because=str(error))

    def timed(self, content: bytes, item: Measured) -> Measured:
        """Add the speed."""
        manifest = self.bundle.manifest
        shape = manifest.preprocessing
        count = min(TIMED_PICTURES, TIMED_BYTES // (shape.height * shape.width * shape.channels))
        after = self.form(content, item.engine)
        images = pictures(after, self.validation, max(1, count), manifest.seed)
        before = open_session(self.model, item.engine)
        speed = measure_speed_up(before, after.session, images)
        return Measured(item.engine, item.drop, speed)

    def tolerance(self, content: bytes, allowed: Sequence[Measured]) -> float:
        """Return how far golden probabilities may be off: twice what is seen here."""
        images, wanted = golden_pictures(open_predictor(self.bundle, self.engines[0]))
        most = max(
            agreement(wanted, self.form(content, item.engine).probabilities(images)).max_difference
            for item in allowed
        )
        return min(1.0, round(max(LEAST_TOLERANCE, HEADROOM * most), 4))


def _find(
    trial: _Trial, calibration: Dataset, max_drop: float
) -> tuple[bytes, dict[str, Any], Measured]:
    """Return the first form that loses little enough on the fastest engine.

    Raises:
        GateError: none does, or none can be made.
    """
    engine, refused = trial.engines[0], []
    unmade: GateError | None = None
    for name, make, made_with in _forms(trial, calibration):
        try:
            content = make()
        except GateError as error:  # the next settings may do
            trial.progress.say(str(error))
            unmade = error
            continue
        drop = trial.drop(content, engine)
        trial.progress.say(f"{trial.precision}, {name}: loses {drop}")
        if drop.value <= max_drop:
            return content, made_with, Measured(engine, drop)
        refused.append(f"{name}: {drop}")
    if not refused and unmade is not None:
        raise unmade
    raise GateError(
        f"{trial.precision} loses more than {max_drop:g} points of accuracy on {engine}: "
        f"{'; '.join(refused)}. Nothing was changed. Allow more with --max-drop, or give more "
        "pictures."
    )


def _forms(
    trial: _Trial, calibration: Dataset
) -> Iterator[tuple[str, Callable[[], bytes], dict[str, Any]]]:
    """Yield name, what makes the ONNX file, and settings of each form to try."""
    if trial.precision != "int8":
        half = partial(with_half_weights, trial.model, trial.precision)
        yield "16-bit weights", half, {"weights": 16}
        return
    shape = trial.bundle.manifest.preprocessing
    fitting = CALIBRATION_BYTES // (shape.height * shape.width * shape.channels)
    count = max(1, min(CALIBRATION_PICTURES, fitting))
    predictor = open_predictor(trial.bundle, trial.engines[0])
    images = pictures(predictor, calibration, count, trial.bundle.manifest.seed)
    quantizer = Quantizer(trial.model, images)
    for settings in quantizer.steps:
        trial.progress.say(f"Quantising with {len(images)} pictures", settings=settings.name)
        made_with = {
            "settings": settings.name,
            "preset": settings.preset,
            "fast_bias_correction": settings.fast_bias_correction,
            "kept_in_fp32": settings.keep,
            "calibration_pictures": len(images),
        }
        yield settings.name, partial(quantizer.run, settings), made_with


def sample(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Return a random sample of so many pictures, the same for one seed; all if there are fewer."""
    order = generator(seed, "optimize").permutation(len(dataset))[:count]
    return dataset.select(sorted(int(index) for index in order))


def pictures(predictor: BundlePredictor, dataset: Dataset, count: int, seed: int) -> ImagesNHWC:
    """Return up to `count` prepared pictures, class by class in turn; broken ones are left out.

    Raises:
        DataError: none can be decoded.
    """
    found = []
    for index in _in_turn(dataset, seed):
        try:
            found.append(predictor.prepare(dataset.encoded(index)))
        except ImageError:
            continue
        if len(found) == count:
            break
    if not found:
        raise DataError(f"{dataset.root} holds no picture that can be decoded.")
    return np.stack(found)


def _in_turn(dataset: Dataset, seed: int) -> list[int]:
    """Return all indices so that every class comes once before any comes twice."""
    strata, seen = dataset.strata(), dict[int, int]()
    ranked: list[tuple[int, int, int]] = []
    for index in generator(seed, "optimize-in-turn").permutation(len(dataset)):
        label = strata[index]
        seen[label] = seen.get(label, 0) + 1
        ranked.append((seen[label], len(ranked), int(index)))
    return [index for _, _, index in sorted(ranked)]


def _say_speed(timed: Sequence[Measured], progress: Progress) -> None:
    for item in timed:
        if item.speed is not None:
            progress.say(
                f"{item.engine}: {item.speed.value:.2f} times as fast "
                f"({item.speed.before:.0f} -> {item.speed.after:.0f} pictures/s, rounds "
                f"{min(item.speed.ratios):.2f} to {max(item.speed.ratios):.2f}), loses {item.drop}"
            )


def _check_pays(
    bundle: Bundle, precision: Precision, content: bytes, timed: Sequence[Measured]
) -> None:
    """Refuse what is not faster than fp32 on any engine here."""
    speeds = {item.engine: item.speed.value for item in timed if item.speed is not None}
    if max(speeds.values()) >= PAYS:
        return
    named = ", ".join(f"{speed:.2f} times on {engine}" for engine, speed in speeds.items())
    share = len(content) / bundle.manifest.files[MODEL].size
    raise GateError(
        f"{precision} does not pay on this machine: as fast as fp32 {named} (needed {PAYS:g}). "
        f"Its file is {share:.0%} of the fp32 one. Nothing was changed; --keep-slower stores it "
        "all the same."
    )


def _variant(
    precision: Precision, timed: Sequence[Measured], made_with: dict[str, Any], tolerance: float
) -> Variant:
    engines = {
        item.engine: OnEngine(
            drop=round(item.drop.value, 4),
            drop_low=round(item.drop.low, 4),
            drop_high=round(item.drop.high, 4),
            n=item.drop.n,
            agreement=round(item.drop.agreement, 6),
            speed_up=round(item.speed.value, 3),
            speed_up_low=round(min(item.speed.ratios), 3),
            speed_up_high=round(max(item.speed.ratios), 3),
        )
        for item in timed
        if item.speed is not None
    }
    return Variant(
        file=f"model.{precision}.onnx",
        precision=precision,
        engines=engines,
        tolerance=tolerance,
        machine=machine(),
        made_with=made_with,
    )


def _golden_gate(key: str) -> Any:
    """Return a gate that runs the golden pictures of a variant on each of its engines."""

    def gate(staged: Bundle) -> None:
        for engine in staged.manifest.variants[key].engines:
            try:
                verify_golden(open_predictor(staged, engine, variant=key))
            except ClearsightError as error:
                raise GateError(
                    f"The variant {key} was not written: on {engine} {error}"
                ) from error

    return gate
