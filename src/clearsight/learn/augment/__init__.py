"""Changes of training pictures that keep the label; a file added here is one added."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor

from clearsight.core.registry import Registry
from clearsight.learn.affine import resample
from clearsight.learn.family import Job
from clearsight.learn.label_preserving import TrainingPictures, Verdict
from clearsight.learn.training import Choice

AUGMENTS = Registry("clearsight.learn.augment", "augmentation", extra="train")


class Augment(Protocol):
    """Changes a batch of training pictures.

    A file in this folder defines a class with a strict `Config`: `Flip(Flip.Config())`. Its `repr`
    names the class and every option: a resumed run is told from another by it.

    It may define the classmethod `adapted(config, pictures) -> Config`, which fills the options
    that a user left open by what the `TrainingPictures` show, and refuses what cannot do anything
    to them; `config.model_fields_set` says what the user gave.
    """

    def __call__(
        self, images_nhwc: Tensor, numbers: Tensor, epoch: int, random: torch.Generator
    ) -> Tensor:
        """Return uint8 (n, h, w, c) pictures; the input is not modified.

        Args:
            images_nhwc: uint8 (n, h, w, c), c 1 or 3.
            numbers: (n,) int64, which training pictures these are.
            epoch: number of the current pass over the training part.
            random: the only source of randomness to use, on the CPU.
        """


class Chain:
    """Augmentations applied one after the other; neighbours that only move pixels do it at once.

    Args:
        steps: the augmentations.
        reasons: what the training pictures said when the options were decided.
    """

    def __init__(self, steps: Sequence[Any], reasons: Sequence[Verdict] = ()) -> None:
        self.steps, self.reasons = tuple(steps), tuple(reasons)
        self._runs = [(moves, list(run)) for moves, run in groupby(self.steps, _moves_pixels)]

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.steps))})"

    def __call__(
        self, images_nhwc: Tensor, numbers: Tensor, epoch: int, random: torch.Generator
    ) -> Tensor:
        """Return uint8 (n, h, w, c) pictures; see `Augment`."""
        for moves, run in self._runs:
            if moves:
                images_nhwc = _moved(run, images_nhwc, random)
                continue
            for step in run:
                images_nhwc = step(images_nhwc, numbers, epoch, random)
        return images_nhwc


def build_augment(choices: Sequence[Choice], job: Job) -> Chain | None:
    """Return the augmentation that a user or a family chose, fitted to the training pictures.

    Options left open are set to what keeps labels; an option that was given is kept, with a
    warning to `job.progress` where the pictures speak against it.

    Args:
        choices: keys of `learn/augment` with options, in the order in which they are applied.
        job: gives the training pictures.

    Returns:
        The chain, or None for no choices.

    Raises:
        UnknownKeyError: no such augmentation.
        ConfigError: an option it lacks, a wrong value, or one that could change nothing here.
    """
    if not choices:
        return None
    pictures = TrainingPictures.of(job)
    steps = []
    for choice in choices:
        augment = AUGMENTS.load(choice.name)
        config = augment.Config.parse(choice.options)
        if hasattr(augment, "adapted"):
            config = augment.adapted(config, pictures)
        steps.append(augment(config))
    return Chain(steps, pictures.keeps_labels.given)


def photo_changes(job: Job) -> tuple[Choice, ...]:
    """Return the changes that suit photos and keep the labels of these: crop, flip, colour.

    What they do in detail is left open, so `build_augment` fits it to the pictures; flipping is
    left out where it would change labels.

    Args:
        job: gives the training pictures.
    """
    keeps = TrainingPictures.of(job).keeps_labels
    flip = (Choice(name="flip"),) if keeps.left_right.allowed or keeps.up_down.allowed else ()
    return (Choice(name="crop"), *flip, Choice(name="colour"))


def _moves_pixels(step: Any) -> bool:
    return hasattr(step, "matrices")


def _moved(steps: Sequence[Any], images_nhwc: Tensor, random: torch.Generator) -> Tensor:
    n, height, width, _ = images_nhwc.shape
    first, *others = [step.matrices(n, height, width, random) for step in steps]
    for matrices in others:
        first = first @ matrices
    return resample(images_nhwc, first)
