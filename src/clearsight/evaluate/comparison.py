"""Recognizers side by side on the same pictures: figures, costs, and which of them differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clearsight.core.errors import DataError, ImageError, UsageError
from clearsight.core.progress import Progress
from clearsight.core.seeds import generator
from clearsight.data.dataset import Dataset
from clearsight.data.fingerprint import fingerprint
from clearsight.engines.predictor import BundlePredictor
from clearsight.evaluate.cost import Cost, measure_costs
from clearsight.evaluate.evaluation import LeftOut
from clearsight.evaluate.figures import Measure, measures
from clearsight.evaluate.groups import letters
from clearsight.evaluate.pairs import LEVEL, Answers, Pair, find_pairs
from clearsight.evaluate.score import match_classes, score_pictures

TIMED_PICTURES = 64
FEWEST_PICTURES = 1000
"""A limit on the scoring time never cuts the pictures below this."""


@dataclass(frozen=True)
class Contender:
    """A recognizer to compare.

    Args:
        name: how it is called in tables; no two the same.
        predictor: opened.
        run: where it lies.
        train_s: wall clock of its training, or None when unknown.
    """

    name: str
    predictor: BundlePredictor
    run: Path
    train_s: float | None = None


@dataclass(frozen=True)
class Standing:
    """One line of the comparison.

    Args:
        contender: who.
        measures: every metric with its 95 % interval.
        cost: what it takes to run.
        group: letters; recognizers that share one are not told apart.
    """

    contender: Contender
    measures: dict[str, Measure]
    cost: Cost
    group: str

    @property
    def accuracy(self) -> Measure:
        """The figure that ranks."""
        return self.measures["accuracy"]


@dataclass(frozen=True)
class Comparison:
    """Everything a comparison found.

    Args:
        standings: best accuracy first.
        pairs: every two of them.
        data: the data set's root.
        part: "test", "val" or "all".
        fingerprint: of all pictures of that part.
        n, of: pictures scored, and how many there are.
        quarantined: pictures that could not be decoded.
    """

    standings: tuple[Standing, ...]
    pairs: tuple[Pair, ...]
    data: str
    part: str
    fingerprint: str
    n: int
    of: int
    quarantined: tuple[LeftOut, ...]

    @property
    def engines(self) -> list[str]:
        """The engines that ran them."""
        return sorted({item.contender.predictor.engine for item in self.standings})

    def pair(self, one: str, other: str) -> Pair:
        """Return the pair of two names, in either order."""
        return next(pair for pair in self.pairs if {pair.first, pair.second} == {one, other})

    def to_json(self) -> dict[str, Any]:
        """Return the object that `clearsight compare --json` prints."""
        fast, small = self.front("latency"), self.front("size")
        return {
            "data": self.data,
            "part": self.part,
            "fingerprint": self.fingerprint,
            "n": self.n,
            "of": self.of,
            "level": LEVEL,
            "runs": [
                _line(place, item, item.contender.name in fast, item.contender.name in small)
                for place, item in enumerate(self.standings, 1)
            ],
            "pairs": [pair.to_json() for pair in self.pairs],
            "quarantined": [{"path": q.name, "reason": q.reason} for q in self.quarantined],
        }

    def front(self, cost: str) -> list[str]:
        """Return the names that no other recognizer beats in both accuracy and cost.

        Args:
            cost: "latency" (one picture from its bytes) or "size" (of the Bundle).
        """
        price = {item.contender.name: price_of(item, cost) for item in self.standings}
        names, best = [], float("inf")
        for item in sorted(
            self.standings, key=lambda item: (-item.accuracy.value, price[item.contender.name])
        ):
            if price[item.contender.name] < best:
                best = price[item.contender.name]
                names.append(item.contender.name)
        return names


def compare(
    contenders: Sequence[Contender],
    dataset: Dataset,
    part: str,
    progress: Progress,
    limit: int | None = None,
    scoring_s: float | None = None,
) -> Comparison:
    """Score recognizers on the same pictures and say which of them differ.

    Args:
        contenders: two or more.
        dataset: the pictures; classes are matched by name.
        part: what they are, for the report: "test", "val" or "all".
        progress: where to report.
        limit: score a random sample of so many pictures, the same for all.
        scoring_s: halve the sample (not below 1,000 pictures) until all are expected to be
            scored in this time; None scores everything.

    Raises:
        DataError: no picture that can be scored, or a class a recognizer does not know.
        UsageError: pictures with several labels each.
    """
    _check(contenders, dataset)
    of = len(dataset)
    pictures = _usable(dataset, contenders[0].predictor)
    costs = measure_costs([item.predictor for item in contenders], pictures, progress)
    chosen = _sample(dataset, min(limit or of, _affordable(of, costs, scoring_s)))
    if len(chosen) < of:
        progress.say(f"Scoring a random sample of {len(chosen)} of {of} pictures")
    scores = [_score(item, chosen, progress) for item in contenders]
    order = sorted(range(len(scores)), key=lambda i: scores[i].rank, reverse=True)
    pairs = find_pairs({contenders[i].name: scores[i].answers for i in order})
    place = {contenders[i].name: number for number, i in enumerate(order)}
    groups = letters(
        len(order), [(place[pair.first], place[pair.second]) for pair in pairs if pair.different]
    )
    return Comparison(
        standings=tuple(
            Standing(contenders[i], scores[i].measures, costs[i], group)
            for i, group in zip(order, groups, strict=True)
        ),
        pairs=tuple(pairs),
        data=str(dataset.root),
        part=part,
        fingerprint=fingerprint(dataset),
        n=max(len(item.answers.labels) for item in scores),
        of=of,
        quarantined=tuple(dict.fromkeys(left for item in scores for left in item.left_out)),
    )


@dataclass(frozen=True)
class _Score:
    measures: dict[str, Measure]
    answers: Answers
    left_out: list[LeftOut]

    @property
    def rank(self) -> tuple[float, float]:
        """Better is larger: accuracy, then log-loss."""
        return self.measures["accuracy"].value, -self.measures["log-loss"].value


def _score(contender: Contender, dataset: Dataset, progress: Progress) -> _Score:
    progress.say(f"Scoring {contender.name}", pictures=len(dataset))
    left_out: list[LeftOut] = []
    scored, kept = score_pictures(contender.predictor, dataset, progress, left_out)
    labels = np.array([dataset.samples[index].label for index in kept], dtype=np.int64)
    answers = Answers(np.array(kept, dtype=np.int64), labels, scored.correct)
    return _Score(measures(scored), answers, left_out)


def _check(contenders: Sequence[Contender], dataset: Dataset) -> None:
    """Refuse what cannot be compared before anything takes time."""
    if dataset.task == "multi-label":
        raise UsageError(
            f"The pictures of {dataset.root} have several labels each; recognizers are compared "
            "on pictures with one. Score each with 'clearsight evaluate'."
        )
    for item in contenders:
        match_classes(item.predictor, dataset)


def _usable(dataset: Dataset, predictor: BundlePredictor) -> list[bytes]:
    """Return the bytes of a few pictures of the data set that can be decoded."""
    found: list[bytes] = []
    for index in generator(0, "timed pictures").permutation(len(dataset)).tolist():
        try:
            encoded = dataset.encoded(index)
            predictor.prepare(encoded)
        except ImageError:
            continue
        found.append(encoded)
        if len(found) == TIMED_PICTURES:
            break
    if not found:
        raise DataError(
            f"{dataset.root} holds no picture that can be scored. Run 'clearsight check' on it."
        )
    return found


def _affordable(of: int, costs: Sequence[Cost], scoring_s: float | None) -> int:
    """Return how many pictures all recognizers together score in the time."""
    count = of
    each_s = sum(1 / cost.picture_rate for cost in costs)
    while scoring_s is not None and count * each_s > scoring_s and count // 2 >= FEWEST_PICTURES:
        count //= 2
    return count


def _sample(dataset: Dataset, count: int) -> Dataset:
    """Return `count` pictures by chance, always the same ones, in the data set's order."""
    if count >= len(dataset):
        return dataset
    chosen = generator(0, "compared pictures").permutation(len(dataset))[:count]
    return dataset.select(sorted(chosen.tolist()))


def _line(place: int, item: Standing, fast: bool, small: bool) -> dict[str, Any]:
    measures = {key.replace("-", "_"): value for key, value in item.measures.items()}
    manifest = item.contender.predictor.manifest
    return {
        "place": place,
        "name": item.contender.name,
        "group": item.group,
        "run": str(item.contender.run),
        "bundle": manifest.id,
        "family": manifest.family,
        "seed": manifest.seed,
        "n": item.accuracy.n,
        **{key: measure.value for key, measure in measures.items()},
        "accuracy_ci": [item.accuracy.low, item.accuracy.high],
        "intervals": {key: [measure.low, measure.high] for key, measure in measures.items()},
        "train_s": item.contender.train_s,
        "engine": item.contender.predictor.engine,
        "cost": item.cost.to_json(),
        "front": {"latency": fast, "size": small},
    }


def price_of(item: Standing, cost: str) -> float:
    """Return what `cost` is for a recognizer: "latency" in ms, "size" in bytes."""
    return item.cost.picture.p50_ms if cost == "latency" else float(item.cost.bundle_bytes)
