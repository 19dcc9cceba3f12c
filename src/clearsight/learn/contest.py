"""Trains one candidate on the parts that all of them share, and scores it on validation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.bundle import Bundle
from clearsight.core.calibration import fit_temperature, probabilities
from clearsight.core.errors import ConfigError, DataError, UnknownKeyError
from clearsight.core.nouns import Predictor, Preprocessing, Scores, Task
from clearsight.core.progress import Progress
from clearsight.data.cache import PixelCache, build_cache
from clearsight.data.dataset import Quarantined
from clearsight.learn.allocator import kept_memory
from clearsight.learn.choose import Candidate, shortlist
from clearsight.learn.classical_names import classical_config, classical_names
from clearsight.learn.family import FAMILIES, Budget, Facts, Family, Fitted, Job, OpenModel
from clearsight.learn.hardened import Side, hardened_job, judge_hardened, slowdown, that_harden
from clearsight.learn.imbalance import Remedy, find_remedy
from clearsight.learn.inputs import Parts
from clearsight.learn.settings import TrainSettings
from clearsight.learn.tracking import Curves, Track, check_trackers
from clearsight.learn.training import Choice, Training
from clearsight.learn.trust_settings import check_trust
from clearsight.learn.validation_rows import score_in_time

SCORING_SHARE = 0.03
"""Part of the time that scoring may take beyond what the family left over."""
Report = Callable[[float, float], None]
Judge = Callable[[Scores, NDArray[np.int64], tuple[str, ...], Task], dict[str, Any]]


def ignore(done: float, accuracy: float) -> None:
    """Do nothing with a report; see `Job.report`."""


@dataclass(frozen=True)
class Seams:
    """What training needs from the rooms beside it, handed in by the caller.

    Args:
        open_model: opens ONNX bytes for inference.
        open_for_few: the same, quickest to open, for a few hundred pictures.
        predictors: by engine name, opens a Bundle; the parity gate asks every one of them.
        judge: calibrated probabilities, labels, class names, task -> JSON-ready figures.
        card: manifest facts -> the text of card.md.
    """

    open_model: OpenModel
    open_for_few: OpenModel
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
        val: the validation pixels that were scored, see `score_in_time`.
        val_logits: (n, classes) float32 of `fitted` on them.
        temperature: fitted on them.
        figures: the judge's, on them.
        quarantined: pictures of both parts that turned out damaged when they were decoded.
        seconds: wall clock of decoding and training.
        unlearnt: classes of which no training picture could be read.
        hardened: what hardening brought on validation, see `judge_hardened`; None without it.
        balanced: whether candidates are ranked by balanced accuracy.
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
    unlearnt: tuple[str, ...] = ()
    balanced: bool = False
    hardened: dict[str, Any] | None = None

    @property
    def rank(self) -> tuple[float, float]:
        """Better is larger: validation accuracy (see `balanced`), then log-loss.

        With hardening, the mean of that accuracy and of the one on harder pictures.
        """
        accuracy = self.figures["balanced_accuracy" if self.balanced else "accuracy"]
        if self.hardened is not None:
            accuracy = (accuracy + (self.hardened["accuracy"] or 0.0)) / 2
        return (accuracy, -self.figures["log_loss"])


@dataclass(frozen=True)
class Contest:
    """The ground on which candidates meet: the same parts, pixels, seed and judge.

    Args:
        parts: "train" and "val".
        facts: of the training part.
        settings: of the run.
        seams: the rooms beside this one.
        work: candidates work in folders below it; prepared pixels are shared in `work/pixels`.
        progress: where to report.
    """

    parts: Parts
    facts: Facts
    settings: TrainSettings
    seams: Seams
    work: Path
    progress: Progress

    def train(
        self, candidate: Candidate, budget: Budget, name: str, report: Report = ignore
    ) -> Trained:
        """Train one candidate and score it on validation.

        Args:
            candidate: what to train.
            budget: when to stop.
            name: of its folder in `work`; what that holds is resumed from.
            report: see `Job.report`; what it raises ends the training.
        """
        with kept_memory(), Curves(self.work.parent, self.settings.track) as curves:
            trained = self._train(candidate, budget, name, report, curves.of(name))
            final = {f"final/{key}": trained.figures[key] for key in ("accuracy", "log_loss")}
            curves.of(name)(int(trained.fitted.story.get("steps", 0)), final)
        return trained

    def _train(
        self, candidate: Candidate, budget: Budget, name: str, report: Report, track: Track
    ) -> Trained:
        began = time.monotonic()
        family = build_family(candidate)
        preprocessing = family.preprocessing(facts_for(candidate, self.facts, self.settings.harden))
        train, val = self.pixels(preprocessing)
        job = Job(
            train_images=train.images,
            train_labels=train.labels,
            val_images=val.images,
            val_labels=val.labels,
            classes=self.facts.classes,
            preprocessing=preprocessing,
            seed=self.settings.seed,
            budget=budget,
            work=self.work / name,
            open_model=self.seams.open_model,
            progress=self.progress,
            task=self.facts.task,
            training=self._training(family),
            report=report,
            track=track,
        )
        harden = self.settings.harden
        fitted = family.fit(hardened_job(job, harden, family.capabilities.gradients))
        self._warn_if_cut_short(fitted)
        val, logits = score_in_time(
            fitted, val, self.settings.seed, self._scoring_s(budget), self.progress
        )
        if self.remedy is None:
            temperature = fit_temperature(logits, val.labels, job.task)
        else:
            fitted, logits, temperature = self.remedy.apply(
                fitted, logits, val.labels, job.training, self.progress
            )
        return Trained(
            candidate=candidate,
            family=family,
            fitted=fitted,
            preprocessing=preprocessing,
            val=val,
            val_logits=logits,
            temperature=temperature,
            figures=self.seams.judge(
                probabilities(logits, temperature, job.task), val.labels, job.classes, job.task
            ),
            quarantined=(*train.quarantined, *val.quarantined),
            seconds=time.monotonic() - began,
            unlearnt=unlearnt(train, self.facts.classes),
            balanced=self.remedy is not None,
            hardened=judge_hardened(fitted, Side(logits, val), harden, job.task, job.seed),
        )

    def _scoring_s(self, budget: Budget) -> float:
        """Return how long scoring the validation part may take."""
        if budget.deadline is None or self.settings.time_s is None:
            return float("inf")
        return max(0.0, budget.remaining_s()) + SCORING_SHARE * self.settings.time_s

    @property
    def remedy(self) -> Remedy | None:
        """What is done about uneven classes, if anything."""
        return find_remedy(self.facts, self.settings.imbalance)

    def _training(self, family: Family) -> Training:
        asked = self.settings.training
        if self.remedy is None:
            return asked
        return self.remedy.training(asked, family.capabilities.gradients)

    def pixels(self, preprocessing: Preprocessing) -> tuple[PixelCache, PixelCache]:
        """Return the prepared training and validation pictures; prepared once for all."""
        train, val = (
            build_cache(self.parts[part], preprocessing, self.work / "pixels", self.progress)
            for part in ("train", "val")
        )
        _check_usable(train, val, self.facts.classes)
        for name in unlearnt(train, self.facts.classes):
            told = f"No training picture of {name} could be read: it cannot be recognised"
            self.progress.say(told)
        return train, val

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
        ConfigError: the family's configuration is wrong, or is given without a family; or an
            option of training is wrong, or would do nothing; or the hardening does not apply.
        MissingExtraError: a tracker's package is not installed.
    """
    if settings.ensemble_cost > 1 and (settings.model != "auto" or settings.time_s is None):
        raise ConfigError(
            "ensemble_cost would do nothing: only --model auto with --time trains several "
            "recognizers to join. Leave it out."
        )
    check_trackers(settings.track)
    if settings.model != "auto":
        candidate = named(settings.model, settings.family)
        family = build_family(candidate)
        check_trust(settings.trust, facts.task, family.capabilities.features)
        taken = _that_take([candidate], settings.training, facts)
        return that_harden(taken, settings.harden, facts)
    if settings.family:
        raise ConfigError(
            f"Options of a family ({', '.join(sorted(settings.family))}) need to know which: "
            "add --model NAME. With --model auto each family takes its own."
        )
    check_trust(settings.trust, facts.task, features=True)
    found = that_harden(shortlist(facts, settings.time_s), settings.harden, facts)
    if facts.task == "single-label" and not settings.training.given():
        return found  # to look closer takes loading torch, which the race does beside other work
    return _that_take(found, settings.training, facts)


def _that_learn(candidates: list[Candidate], facts: Facts) -> list[Candidate]:
    """Return the candidates that learn such labels."""
    able = [each for each in candidates if facts.task in FAMILIES.load(each.key).capabilities.tasks]
    if not able:
        others = [
            key
            for key in FAMILIES.keys()  # noqa: SIM118 - a registry is no mapping
            if facts.task in FAMILIES.load(key).capabilities.tasks
        ]
        raise ConfigError(
            f"{' and '.join(each.key for each in candidates)} cannot learn {facts.task} labels. "
            f"Choose one of these with --model: {', '.join(others)}."
        )
    return able


def _that_take(candidates: list[Candidate], training: Training, facts: Facts) -> list[Candidate]:
    """Return the candidates on which the options of training have an effect; check the options."""
    candidates = _that_learn(candidates, facts)
    given = training.given()
    if not given:
        return candidates
    able = [each for each in candidates if FAMILIES.load(each.key).capabilities.gradients]
    if not able:
        raise ConfigError(
            f"{' and '.join(each.key for each in candidates)} learn without gradient descent, so "
            f"{', '.join(f'training.{name}' for name in given)} would do nothing. Leave it out, or "
            "choose a network with --model, for example compact."
        )
    from clearsight.learn.trainers.recipe import check_choices

    check_choices(training, facts)
    return able


def unlearnt(train: PixelCache, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes of which no training picture could be read."""
    several = train.labels.ndim == 2
    counts = train.labels.sum(0) if several else np.bincount(train.labels, minlength=len(classes))
    return tuple(name for name, count in zip(classes, counts, strict=True) if not count)


def facts_for(candidate: Candidate, facts: Facts, harden: Choice | None) -> Facts:
    """Return the facts with the time that this candidate may take, in seconds of plain training."""
    if facts.time_s is None:
        return facts
    slower = slowdown(candidate, harden, facts.task)
    return replace(facts, time_s=facts.time_s * candidate.share_of_time / slower)


def build_family(candidate: Candidate) -> Family:
    """Return the candidate's family with its configuration."""
    make = FAMILIES.load(candidate.key)
    family: Family = make(make.Config.parse(candidate.config))
    return family


def named(model: str, config: dict[str, Any]) -> Candidate:
    """Return the candidate that a model name asks for.

    A family's key; or a classical recognizer such as "sift+linear-svm"; else a timm model.

    Raises:
        UnknownKeyError: none of these; the message lists the nearest names.
        ConfigError: the name decides what the configuration decides too.
    """
    families = FAMILIES.keys()
    if model in families:
        return Candidate(key=model, config=config, share_of_time=1.0, reason="asked for")
    parts = classical_config(model, config)
    if parts is not None:
        return Candidate(key="classical", config=parts, share_of_time=1.0, reason="asked for")
    also = [*families, *classical_names()]
    if find_spec("timm") is None:
        raise UnknownKeyError("model", model, also)
    from clearsight.learn.families.timm import check_name

    check_name(model, also=also)
    return Candidate(
        key="timm", config={"name": model, **config}, share_of_time=1.0, reason="asked for"
    )


def finishing_s(time_s: float) -> float:
    """Seconds kept back for export, trust, parity gate and writing; see benchmarks/learn."""
    return min(3.0 + 0.04 * time_s, 0.25 * time_s)


def _check_usable(train_cache: PixelCache, val_cache: PixelCache, classes: tuple[str, ...]) -> None:
    left = len(classes) - len(unlearnt(train_cache, classes))
    if left < 2:
        raise DataError(
            f"Training needs pictures of at least two classes; {left} of the {len(classes)} "
            "classes have a readable one. Run 'clearsight check' to see every damaged file."
        )
    if len(val_cache.labels) == 0:
        raise DataError(
            "No picture is left for validation. Add pictures (at least two a class), or raise "
            "--set split.val."
        )
