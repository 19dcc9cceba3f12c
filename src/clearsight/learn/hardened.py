"""Hardening of any family: who can be hardened, by which pictures, and at what price."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import ConfigError
from clearsight.core.nouns import ImagesNHWC, Scores, Task
from clearsight.core.proportions import wilson
from clearsight.core.seeds import derive_seed, generator
from clearsight.learn.family import FAMILIES, Facts, Fitted, Job
from clearsight.learn.hardening import HARDENINGS, Hardening, build_hardening
from clearsight.learn.training import Choice

if TYPE_CHECKING:
    from clearsight.data.cache import PixelCache
    from clearsight.learn.choose import Candidate

AT_ONCE = 256
JUDGED_PICTURES = 500
"""Validation pictures that are changed to see what hardening by pictures brought, at most."""
BESIDE = 2.0
"""Pictures a family without gradient descent learns from, in parts of those there are."""
SURE = 1.96
"""Standard errors of a 95 % interval."""
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Side:
    """One recognizer's answers on validation pictures.

    Args:
        logits: (n, classes).
        val: their pixels and labels; `val.kept` tells which pictures they are.
    """

    logits: Scores
    val: PixelCache


def that_harden(
    candidates: list[Candidate], choice: Choice | None, facts: Facts
) -> list[Candidate]:
    """Return the candidates that the hardening can be applied to; check its options.

    Args:
        candidates: in the race.
        choice: the hardening, or None: then all of them.
        facts: gives the kind of label.

    Raises:
        UnknownKeyError: no such hardening.
        ConfigError: a wrong option, labels it does not take, or no candidate that gives gradients
            where the hardening needs them.
    """
    if choice is None:
        return candidates
    hardening = build_hardening(choice, facts.task)
    if hardening.by_pictures:
        return candidates
    able = [each for each in candidates if FAMILIES.load(each.key).capabilities.gradients]
    if not able:
        raise _no_gradients(choice, " and ".join(dict.fromkeys(each.key for each in candidates)))
    return able


def _no_gradients(choice: Choice, who: str) -> ConfigError:
    keys = [key for key in HARDENINGS.keys() if HARDENINGS.load(key).by_pictures]  # noqa: SIM118
    return ConfigError(
        f"harden={choice.name} attacks the recognizer while it learns, and {who} gives no "
        f"gradients. Harden it by changed pictures ({', '.join(keys)}), or choose a network "
        "with --model, for example compact."
    )


def slowdown(candidate: Candidate, choice: Choice | None, task: Task) -> float:
    """Return how many times as long a pass takes with the hardening, about.

    Args:
        candidate: with gradient descent a step takes more forward passes; without, changed
            pictures stand beside the plain ones.
        choice: the hardening, or None.
        task: what a label is.
    """
    if choice is None:
        return 1.0
    if not FAMILIES.load(candidate.key).capabilities.gradients:
        return BESIDE
    return float(build_hardening(choice, task).cost)


def hardened_job(job: Job, choice: Choice | None, gradients: bool) -> Job:
    """Return the job with the hardening: for a network in every step, else as more pictures.

    Args:
        job: of one candidate.
        choice: the hardening, or None.
        gradients: whether the family trains by gradient descent.

    Raises:
        ConfigError: the hardening needs gradients, and the family gives none.
    """
    if choice is None:
        return job
    if gradients:
        return replace(job, harden=choice)
    hardening = build_hardening(choice, job.task)
    if not hardening.by_pictures:
        raise _no_gradients(choice, "this recognizer")
    n = len(job.train_labels)
    job.progress.say(f"{n} changed training pictures stand beside the {n} plain ones")
    return replace(
        job,
        train_images=_plain_and_changed(job, hardening, job.work / "hardened.npy"),
        train_labels=np.concatenate([job.train_labels, job.train_labels]),
    )


def _plain_and_changed(job: Job, hardening: Any, path: Path) -> ImagesNHWC:
    """Return the training pictures and a changed copy of each, mapped from disk."""
    n = len(job.train_images)
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (2 * n, *job.train_images.shape[1:])
    both = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    every = np.arange(n)
    for first, plain, changed in _changed(job.train_images, every, hardening, job.seed, "hardened"):
        both[first : first + len(plain)] = plain
        both[n + first : n + first + len(plain)] = changed
    both.flush()
    mapped: ImagesNHWC = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _changed(
    images: ImagesNHWC, rows: Labels, hardening: Any, seed: int, purpose: str
) -> Iterator[tuple[int, ImagesNHWC, ImagesNHWC]]:
    """Yield (first, plain, changed) of these rows in pieces."""
    import torch

    for first in range(0, len(rows), AT_ONCE):
        plain = np.array(images[rows[first : first + AT_ONCE]])
        random = torch.Generator().manual_seed(derive_seed(seed, purpose, first))
        yield first, plain, hardening.pictures(torch.from_numpy(plain), random).numpy()


def judge_hardened(
    fitted: Fitted, side: Side, choice: Choice | None, task: Task, seed: int
) -> dict[str, Any] | None:
    """Return what hardening brought on validation, JSON-ready, or None without hardening.

    Args:
        fitted: the hardened recognizer.
        side: its answers on plain validation pictures.
        choice: the hardening.
        task: what a label is.
        seed: of the changes.

    Returns:
        {"name", "options", "by": "changed pictures" or "attack", "n", "accuracy", "accuracy_ci"}:
        of harder validation pictures, of the kind it was hardened against. None of its figures
        come from the test part.
    """
    if choice is None:
        return None
    hardening: Hardening = build_hardening(choice, task)
    told = {"name": choice.name, "options": hardening.config.model_dump(mode="json")}
    if hardening.by_pictures:
        order = generator(seed, "judged").permutation(len(side.val.labels))
        rows = np.sort(order[:JUDGED_PICTURES])
        parts = _changed(side.val.images, rows, hardening, seed, "judged")
        scores = np.concatenate([fitted.logits(changed) for _, _, changed in parts])
        return {**told, "by": "changed pictures", **_share(right(scores, side.val.labels[rows]))}
    best = fitted.story.get("best") or {}
    if "hardened_accuracy" not in best:
        return {**told, "by": "attack", "n": 0, "accuracy": None, "accuracy_ci": None}
    n = int(fitted.story["judged"])
    accuracy = float(best["hardened_accuracy"])
    return {**told, "by": "attack", **_share(np.full(n, accuracy))}


def right(scores: Scores, labels: Labels) -> NDArray[np.float64]:
    """Return (n,) float64: 1 where the answer is right; with several labels their share.

    Example:
        >>> right(np.eye(2, dtype=np.float32), np.array([0, 0])).tolist()
        [1.0, 0.0]
    """
    if labels.ndim == 2:
        return np.asarray(((scores > 0) == (labels > 0)).mean(axis=1), np.float64)
    return np.asarray(scores.argmax(axis=1) == labels, np.float64)


def price(standard: Side, hardened: Side) -> dict[str, Any]:
    """Return what hardening costs on clean pictures: the same ones, answered by both.

    Args:
        standard: the same recognizer trained without hardening.
        hardened: with it.

    Returns:
        {"n", "standard_accuracy", "accuracy", "points", "points_ci"}: points of accuracy lost
        (negative where accuracy was gained) with a 95 % interval of the paired difference.
    """
    _, ours, theirs = np.intersect1d(
        hardened.val.kept, standard.val.kept, assume_unique=True, return_indices=True
    )
    one = right(hardened.logits[ours], hardened.val.labels[ours])
    two = right(standard.logits[theirs], standard.val.labels[theirs])
    lost, n = 100 * (two - one), len(one)
    error = SURE * float(lost.std(ddof=1)) / math.sqrt(n) if n > 1 else float("inf")
    middle = float(lost.mean()) if n else 0.0
    interval = [round(middle - error, 2), round(middle + error, 2)] if n > 1 else None
    return {
        "n": n,
        "standard_accuracy": round(float(two.mean()), 4) if n else None,
        "accuracy": round(float(one.mean()), 4) if n else None,
        "points": round(middle, 2),
        "points_ci": interval,
    }


def say_hardened(told: Mapping[str, Any]) -> Sequence[str]:
    """Return what hardening brought and cost, in sentences.

    Args:
        told: from `judge_hardened`, with "price" from `price` where it was measured.
    """
    lines = []
    if told.get("accuracy") is not None:
        low, high = told["accuracy_ci"]
        lines.append(
            f"Hardened by {told['name']}: {told['accuracy']:.4f} of {told['n']} validation "
            f"pictures right under {told['by']} (95 % CI {low:.4f}-{high:.4f})."
        )
    cost = told.get("price")
    if cost and cost["points_ci"]:
        low, high = cost["points_ci"]
        lines.append(
            f"Its price on clean pictures: {cost['points']:.2f} points of accuracy (95 % CI "
            f"{low:.2f} to {high:.2f}, {cost['n']} validation pictures), against the same model "
            f"trained without hardening for {cost['standard_seconds']:.0f} s."
        )
    return lines


def _share(right_ones: NDArray[np.float64]) -> dict[str, Any]:
    """Return n, the share of right answers, and its 95 % interval."""
    n, share = len(right_ones), float(right_ones.mean())
    low, high = wilson(round(share * n), n)
    interval = [round(low, 4), round(high, 4)]
    return {"n": n, "accuracy": round(share, 4), "accuracy_ci": interval}
