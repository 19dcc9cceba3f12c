"""Trains every candidate within its share of the time and keeps the best on validation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.bundle import Bundle
from clearsight.core.calibration import fit_temperature, softmax
from clearsight.core.errors import DataError
from clearsight.core.nouns import Predictor, Preprocessing, Scores
from clearsight.core.progress import Progress
from clearsight.data.cache import PixelCache, build_cache
from clearsight.data.dataset import Quarantined
from clearsight.learn.choose import Candidate, shortlist
from clearsight.learn.family import FAMILIES, Budget, Facts, Family, Fitted, Job, OpenModel
from clearsight.learn.inputs import Parts
from clearsight.learn.run_folder import RunFolder
from clearsight.learn.settings import TrainSettings

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
class Trained:
    """One candidate, trained and calibrated.

    Args:
        candidate: what was asked for, and why.
        family: the family with its resolved configuration.
        fitted: the model.
        preprocessing: what its pixels go through.
        val: the validation pixels as the trainer saw them.
        val_logits: (n, classes) float32 of `fitted` on them.
        temperature: fitted on them.
        figures: the judge's, on them.
        quarantined: pictures of both parts that turned out damaged when they were decoded.
        seconds: wall clock of decoding and training.
    """

    candidate: Candidate
    family: Family
    fitted: Fitted
    preprocessing: Preprocessing
    val: PixelCache
    val_logits: Scores
    temperature: float
    figures: dict[str, Any]
    quarantined: tuple[Quarantined, ...]
    seconds: float

    @property
    def rank(self) -> tuple[float, float]:
        """Better is larger: validation accuracy, then log-loss."""
        return (self.figures["accuracy"], -self.figures["log_loss"])


@dataclass(frozen=True)
class Contest:
    """Candidates on the same parts, under one clock.

    Args:
        parts: "train" and "val".
        facts: of the training part.
        settings: of the run.
        seams: the rooms beside this one.
        folder: each candidate works in a folder of its own below `folder.work`.
        progress: where to report.
        started: `time.monotonic()` from which the time budget counts.
    """

    parts: Parts
    facts: Facts
    settings: TrainSettings
    seams: Seams
    folder: RunFolder
    progress: Progress
    started: float

    def best(self, candidates: list[Candidate]) -> Trained:
        """Train every candidate and return the one that validates best."""
        best: Trained | None = None
        for number, candidate in enumerate(candidates):
            self.progress.say(f"Training {candidate.key}", reason=candidate.reason)
            trained = self._train(candidate, number, self._budget(candidates[number:]))
            self.progress.say(
                f"{candidate.key}: validation accuracy {trained.figures['accuracy']:.4f}",
                seconds=f"{trained.seconds:.1f}",
            )
            if best is None or trained.rank > best.rank:
                best = trained
        assert best is not None
        if len(candidates) > 1:
            self.progress.say(f"Chose {best.candidate.key}", reason="best validation accuracy")
        return best

    def _budget(self, left: list[Candidate]) -> Budget:
        """Return the first candidate's share of the time that is left for all of them."""
        if self.settings.time_s is None:
            return Budget(epochs=self.settings.epochs)
        end = self.started + self.settings.time_s - finishing_s(self.settings.time_s)
        share = left[0].share_of_time / sum(candidate.share_of_time for candidate in left)
        now = time.monotonic()
        return Budget(deadline=now + share * max(0.0, end - now), epochs=self.settings.epochs)

    def _train(self, candidate: Candidate, number: int, budget: Budget) -> Trained:
        began = time.monotonic()
        family = build_family(candidate)
        preprocessing = family.preprocessing(self.facts)
        work = self.folder.work / f"{number}-{candidate.key}"
        train, val = (
            build_cache(self.parts[name], preprocessing, work / name, self.progress)
            for name in ("train", "val")
        )
        _check_usable(train, val, self.facts.classes)
        job = Job(
            train_images=train.images,
            train_labels=train.labels,
            val_images=val.images,
            val_labels=val.labels,
            classes=self.facts.classes,
            preprocessing=preprocessing,
            seed=self.settings.seed,
            budget=budget,
            work=work,
            open_model=self.seams.open_model,
            progress=self.progress,
            task=self.facts.task,
            training=self.settings.training,
        )
        fitted = family.fit(job)
        self._warn_if_cut_short(fitted)
        logits = fitted.logits(np.asarray(val.images))
        temperature = fit_temperature(logits, val.labels)
        return Trained(
            candidate=candidate,
            family=family,
            fitted=fitted,
            preprocessing=preprocessing,
            val=val,
            val_logits=logits,
            temperature=temperature,
            figures=self.seams.judge(softmax(logits, temperature), val.labels, self.facts.classes),
            quarantined=(*train.quarantined, *val.quarantined),
            seconds=time.monotonic() - began,
        )

    def _warn_if_cut_short(self, fitted: Fitted) -> None:
        epochs = fitted.story.get("epochs")
        wanted = self.settings.epochs
        if epochs is not None and epochs < 1 and (wanted is None or epochs < wanted):
            self.progress.say(
                f"Only {epochs:.2f} of one pass over the training pictures fitted into the time; "
                "give it more with --time"
            )


def find_candidates(settings: TrainSettings, facts: Facts) -> list[Candidate]:
    """Return what to train; every name and setting is checked before anything is written.

    Raises:
        UnknownKeyError: no such family or timm model.
        ConfigError: the family's configuration is wrong.
    """
    if settings.model == "auto":
        candidates = shortlist(facts, settings.time_s, settings.epochs)
    else:
        candidates = [named(settings.model, settings.family)]
    for candidate in candidates:
        build_family(candidate)
    return candidates


def build_family(candidate: Candidate) -> Family:
    """Return the candidate's family with its configuration."""
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


def finishing_s(time_s: float) -> float:
    """Seconds kept back for export, parity gate and writing; measured, see benchmarks/learn."""
    return min(3.0 + 0.02 * time_s, 0.25 * time_s)


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
