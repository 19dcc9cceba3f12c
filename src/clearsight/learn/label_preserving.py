"""Asks the training pictures which changes keep their labels: the one place that decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from clearsight.core.config import Config
from clearsight.core.nouns import ImagesNHWC
from clearsight.core.seeds import generator
from clearsight.learn.affine import resample, rotations
from clearsight.learn.family import Job
from clearsight.learn.pixel_values import recolour

REFERENCES, QUERIES = 1500, 1000
CHANGED_SIDE, SIDE = 24, 12  # pictures are shrunk, changed, and compared at half the size
FAMILIAR = 0.8  # a class is familiar if its changed pictures are recognised this often as well
HALF, MOST = 0.5, 0.75  # of the classes must stay familiar; most for what is seldom harmless
SLIGHT_DEGREES = 30  # rotation up to here takes half of the classes
SWAPPED = 0.3  # share of a class that a change moves to one other class
FEWEST = 5  # queries a class needs to have a say
ROTATIONS = (10, 20, 30, 45, 90, 135, 180)  # degrees that are tried, one after the other
HUE_DEGREES = 90
GREY_SAMPLE = 256
UNTOLD = "there are too few pictures to tell whether that keeps their labels"


@dataclass(frozen=True)
class Verdict:
    """Whether a change keeps labels, and why.

    Args:
        allowed: it does, as far as the training pictures tell.
        reason: one sentence for the story.
    """

    allowed: bool
    reason: str


class LabelPreserving:
    """Which changes of training pictures keep their labels, found when asked for.

    Held-out training pictures are recognised twice by their nearest neighbour: among real pictures
    and among changed ones. A change is allowed where at least half of the classes are recognised
    nearly as well among changed pictures (three quarters for what seldom is harmless: upside down,
    far turned, tinted), and no two classes turn into each other (an arrow left and an arrow
    right). The bounds are a rule of thumb, not a guarantee; what a user asks for is
    done in any case.

    Args:
        images_nhwc: (n, h, w, c) uint8 training pictures.
        labels: (n,) int64, or (n, classes) of 0 and 1: then equal rows count as one class.
        classes: class names.
        seed: draws the sample.
    """

    def __init__(
        self,
        images_nhwc: ImagesNHWC,
        labels: NDArray[np.int64],
        classes: tuple[str, ...],
        seed: int,
    ) -> None:
        self._pictures = (images_nhwc, labels, classes, seed)
        self._given: dict[str, Verdict] = {}

    @property
    def given(self) -> tuple[Verdict, ...]:
        """The verdicts that were asked for so far."""
        return tuple(self._given.values())

    @property
    def shorter_side(self) -> int:
        """Of the pictures, in pixels."""
        return int(min(self._pictures[0].shape[1:3]))

    @cached_property
    def grey(self) -> bool:
        """Whether every sampled picture is grey."""
        images = self._pictures[0]
        if images.shape[3] == 1:
            return True
        sample = images[:: max(1, len(images) // GREY_SAMPLE)]
        return bool((sample == sample[..., :1]).all())

    @cached_property
    def left_right(self) -> Verdict:
        """Mirroring left to right."""
        return self._verdict("mirrored", lambda images: images.flip(2), HALF)

    @cached_property
    def up_down(self) -> Verdict:
        """Mirroring top to bottom."""
        return self._verdict("mirrored top to bottom", lambda images: images.flip(1), MOST)

    @cached_property
    def quarter_turns(self) -> Verdict:
        """Turning by 90, 180 and 270 degrees."""
        quarter = self._turned(90)
        return self._turned(180) if quarter.allowed else quarter

    @cached_property
    def degrees(self) -> float:
        """Rotation in both directions up to here; 0 for none."""
        largest = 0
        for degrees in ROTATIONS:
            if not self._turned(degrees).allowed:
                break
            largest = degrees
        return float(largest)

    @cached_property
    def hue(self) -> Verdict:
        """Moving colours around the colour circle."""
        if self.grey:
            return Verdict(False, "the pictures are grey")
        return self._verdict("tinted otherwise", _tinted, MOST)

    def rotation(self, degrees: float) -> Verdict:
        """Return the verdict on rotation by up to so many degrees."""
        if degrees > self.degrees:
            return self._turned(min(tried for tried in ROTATIONS if tried > self.degrees))
        return self._turned(min(tried for tried in ROTATIONS if tried >= degrees))

    def _turned(self, degrees: int) -> Verdict:
        needed = HALF if degrees <= SLIGHT_DEGREES else MOST
        return self._verdict(f"turned by {degrees} degrees", _turn(degrees), needed)

    def _verdict(self, how: str, change: Callable[[Tensor], Tensor], needed: float) -> Verdict:
        if how not in self._given:
            self._given[how] = self._jury.verdict(how, change, needed)
        return self._given[how]

    @cached_property
    def _jury(self) -> _Jury:
        return _Jury(*self._pictures)


@dataclass(frozen=True)
class TrainingPictures:
    """What augmentations may ask about the pictures that they will change.

    Args:
        keeps_labels: which changes keep the labels.
        say: told about changes that were asked for and may change labels.
    """

    keeps_labels: LabelPreserving
    say: Callable[[str], Any]

    @classmethod
    def of(cls, job: Job) -> TrainingPictures:
        """Return what can be asked about a job's training pictures."""
        asked = LabelPreserving(job.train_images, job.train_labels, job.classes, job.seed)
        return cls(asked, job.progress.say)

    def warn_unless(self, verdict: Verdict, what: str) -> None:
        """Say that a change was asked for although the pictures speak against it."""
        if not verdict.allowed:
            self.say(f"{what} is used as asked for, but {verdict.reason}")

    def degrees_for(self, config: Config, what: str) -> float:
        """Return the option `degrees` as given (with a warning), or bounded by the pictures."""
        degrees = float(config.degrees)  # type: ignore[attr-defined]
        if "degrees" not in config.model_fields_set:
            return min(degrees, self.keeps_labels.degrees)
        if degrees:
            self.warn_unless(self.keeps_labels.rotation(degrees), f"{what} by {degrees:g} degrees")
        return degrees


class _Jury:
    """A sample of pictures, half of them known, half of them asked about."""

    def __init__(
        self,
        images_nhwc: ImagesNHWC,
        labels: NDArray[np.int64],
        classes: tuple[str, ...],
        seed: int,
    ) -> None:
        if labels.ndim == 2:
            rows, labels = np.unique(labels, axis=0, return_inverse=True)
            classes = tuple("+".join(np.array(classes)[row == 1]) for row in rows)
        order = generator(seed, "mirroring").permutation(len(labels))[: REFERENCES + QUERIES]
        cut = len(order) * REFERENCES // (REFERENCES + QUERIES)
        known, asked = np.sort(order[:cut]), np.sort(order[cut:])
        self.classes, self.known, self.asked = classes, labels[known], labels[asked]
        self.heard = np.flatnonzero(np.bincount(self.asked, minlength=len(classes)) >= FEWEST)
        self.told = len(self.heard) >= 2
        if self.told:
            self.references = _shrunk(images_nhwc, known)
            self.queries = _described(_shrunk(images_nhwc, asked))
            self.before = self._moves(self.references)

    def verdict(self, how: str, change: Callable[[Tensor], Tensor], needed: float) -> Verdict:
        """Return whether pictures stay familiar when changed: the needed share of classes."""
        if not self.told:
            return Verdict(False, UNTOLD)
        after = self._moves(change(self.references))
        kept = np.diag(after)[self.heard] >= FAMILIAR * np.diag(self.before)[self.heard]
        familiar, asked = int(kept.sum()), len(self.heard)
        gained = after - self.before
        swapped = np.argwhere(np.triu((gained >= SWAPPED) & (gained.T >= SWAPPED), 1))
        if len(swapped):
            one, two = (self.classes[number] for number in swapped[0])
            return Verdict(False, f"{one!r} and {two!r} turn into each other when {how}")
        allowed = familiar >= needed * asked
        count = f"{'' if allowed else 'only '}{familiar}" if familiar else "none"
        return Verdict(allowed, f"{count} of {asked} classes look alike when {how}")

    def _moves(self, references: Tensor) -> NDArray[np.float64]:
        """Return the share of each class (row) that is taken for each (column)."""
        nearest = (self.queries @ _described(references).T).argmax(1).numpy()
        counts = np.zeros((len(self.classes),) * 2)
        np.add.at(counts, (self.asked, self.known[nearest]), 1)
        shares: NDArray[np.float64] = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        return shares


def _shrunk(images_nhwc: ImagesNHWC, numbers: NDArray[np.int64]) -> Tensor:
    """Return uint8 (n, h, w, c) pictures of at most `CHANGED_SIDE`."""
    _, height, width, channels = images_nhwc.shape
    height, width = min(CHANGED_SIDE, height), min(CHANGED_SIDE, width)
    small = np.empty((len(numbers), height, width, channels), np.uint8)
    for place, number in enumerate(numbers):
        picture = cv2.resize(images_nhwc[number], (width, height), interpolation=cv2.INTER_AREA)
        small[place] = picture.reshape(height, width, channels)
    return torch.from_numpy(small)


def _described(images_nhwc: Tensor) -> Tensor:
    """Return unit vectors (n, d): pictures shrunk by area, less their mean."""
    pixels = images_nhwc.permute(0, 3, 1, 2).float()
    height, width = (min(SIDE, size) for size in pixels.shape[2:])
    small = F.interpolate(pixels, (height, width), mode="area").flatten(1)
    return F.normalize(small - small.mean(1, keepdim=True), dim=1)


def _turn(degrees: float) -> Callable[[Tensor], Tensor]:
    """Return a change that turns every other picture to the left and the rest to the right."""

    def change(images_nhwc: Tensor) -> Tensor:
        sides = torch.tensor([1.0, -1.0]).repeat(len(images_nhwc) // 2 + 1)[: len(images_nhwc)]
        return resample(images_nhwc, rotations(degrees * sides))

    return change


def _tinted(images_nhwc: Tensor) -> Tensor:
    same = torch.ones(len(images_nhwc))
    return recolour(images_nhwc, same, same, hue_degrees=HUE_DEGREES * same)
