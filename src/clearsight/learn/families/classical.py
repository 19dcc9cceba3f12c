"""Classical recognition: designed features and a learnt head; no network, no torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from clearsight.core.bundle import WeightLicence
from clearsight.core.config import Config
from clearsight.core.errors import ConfigError, nearest
from clearsight.core.nouns import ImagesNHWC, Preprocessing, Scores
from clearsight.core.registry import Registry
from clearsight.learn.codebook import learn_codebook
from clearsight.learn.descriptors import DESCRIPTORS
from clearsight.learn.encoders import ENCODERS
from clearsight.learn.family import Capabilities, Facts, Job, OnnxRunner
from clearsight.learn.feature_graph import Block, embedding_model
from clearsight.learn.features import affordable, extract, subsample
from clearsight.learn.heads import HEADS, FittedHead
from clearsight.learn.onnx_graph import EMBEDDING, LOGITS

LARGEST_SIDE = 96
SMALLEST_SIDE = 24
UNIT, LARGE_UNIT = 4, 8
UNIT_UP_TO = 48
"""Sides are multiples of UNIT pixels up to here, of LARGE_UNIT above."""
SHORTEST_SIDE = 16
DEFAULT_ENCODER = "bovw"
HEAD_SHARE = 0.5
"""Part of the time kept for the head when pictures must be left out."""


class ClassicalConfig(Config):
    """Which features, which head, and their options.

    Args:
        features: keys of `learn/descriptors`, put side by side.
        encoder: key of `learn/encoders` for local descriptors; None takes "bovw".
        head: key of `learn/heads`.
        side: longer side of the input in pixels; None takes the pictures' own, from 24 to 96.
        memory_bytes: most that features of the training part may take; more pictures than fit are
            left out, class by class in turn, and that is said.
        options: by key of a descriptor, encoder or head in use, its own configuration, for example
            {"sift": {"bin": 4}, "linear-svm": {"strengths": [0.1]}}.
    """

    features: tuple[str, ...] = Field(default=("hog",), min_length=1)
    encoder: str | None = None
    head: str = "linear-svm"
    side: int | None = Field(default=None, ge=16, le=512)
    memory_bytes: int = Field(default=2**30, ge=2**20)
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Classical:
    """Fits a head on designed features (global ones, and encoded local ones).

    Source: Csurka et al. 2004 (bags of visual words); Bosch et al. 2007 (dense grids, several
    scales); Dalal and Triggs 2005 (HOG and a linear SVM).

    Raises:
        UnknownKeyError: no such descriptor, encoder or head.
        ConfigError: an option is wrong, or for a part that is not used.
    """

    Config: ClassVar[type[Config]] = ClassicalConfig
    capabilities: ClassVar[Capabilities] = Capabilities(features=True)

    def __init__(self, config: ClassicalConfig) -> None:
        self.config = config
        if len(set(config.features)) < len(config.features):
            raise ConfigError(f"Each descriptor once, please; got {', '.join(config.features)}.")
        self._descriptors = {key: self._made(DESCRIPTORS, key) for key in config.features}
        local = [key for key, one in self._descriptors.items() if one.kind == "local"]
        if config.encoder is not None and not local:
            raise ConfigError(
                f"family.encoder={config.encoder} does nothing: {', '.join(config.features)} "
                "are whole-picture descriptors. Leave it out, or add a local one such as sift."
            )
        self._encoder_key = (config.encoder or DEFAULT_ENCODER) if local else None
        self._encoder = self._made(ENCODERS, self._encoder_key) if self._encoder_key else None
        self._head = self._made(HEADS, config.head)
        used = [*config.features, *([self._encoder_key] if self._encoder_key else []), config.head]
        for key in config.options:
            if key not in used:
                raise ConfigError(f"Options for {key!r}, which is not used.{nearest(key, used)}")

    def preprocessing(self, facts: Facts) -> Preprocessing:
        """Return the pictures' own shape within bounds, in whole cells; grey if all are grey."""
        longer = max(facts.height, facts.width)
        side = self.config.side or min(max(longer, SMALLEST_SIDE), LARGEST_SIDE)
        unit = UNIT if side <= UNIT_UP_TO else LARGE_UNIT
        height, width = (
            max(SHORTEST_SIDE, round(size * side / longer / unit) * unit)
            for size in (facts.height, facts.width)
        )
        return Preprocessing(height=height, width=width, channels=1 if facts.grey else 3)

    def fit(self, job: Job) -> FittedClassical:
        """Learn codebooks, extract features once, then fit the head until the deadline."""
        began = time.monotonic()
        blocks = self._blocks(job)
        ready = time.monotonic()
        model = embedding_model(blocks, job.preprocessing)
        runner = job.open_model(model)
        rows, val_rows = self._rows(job, runner, blocks)
        train = extract(runner, model, job.train_images, rows, job.work, "train", job.progress)
        val = extract(runner, model, job.val_images, val_rows, job.work, "val", job.progress)
        head = self._head.fit(
            (train.features, job.train_labels[rows]),
            (val.features, job.val_labels[val_rows]),
            len(job.classes),
            job.seed,
            job.budget.deadline,
            job.progress,
        )
        story = {
            "features": {block.key: block.length(job.preprocessing) for block in blocks},
            "encoder": self._encoder_key,
            "head": self.config.head,
            "pictures_used": len(rows),
            "pictures": len(job.train_labels),
            "codebooks_s": round(ready - began, 2),
            "features_s": round(train.seconds + val.seconds, 2),
            **head.story,
            "seconds": round(time.monotonic() - began, 2),
        }
        return FittedClassical(model, runner, head, _arrays(blocks), story)

    def _made(self, registry: Registry, key: str) -> Any:
        make = registry.load(key)
        try:
            return make(make.Config.parse(self.config.options.get(key, {})))
        except ConfigError as error:
            raise ConfigError(f"In family.options.{key}: {error}") from error

    def _blocks(self, job: Job) -> list[Block]:
        """Return the descriptors; codebooks of local ones are learnt now."""
        blocks = []
        for key, descriptor in self._descriptors.items():
            encoder = self._encoder if descriptor.kind == "local" else None
            learnt = learn_codebook(key, descriptor, encoder, job) if encoder else {}
            blocks.append(Block(key, descriptor, encoder, learnt))
        return blocks

    def _rows(
        self, job: Job, runner: OnnxRunner, blocks: list[Block]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which training and validation pictures memory and time allow; the same when resumed."""
        length = sum(block.length(job.preprocessing) for block in blocks)
        sizes = (len(job.train_labels), len(job.val_labels))
        fits = max(self.config.memory_bytes // (4 * length), len(job.classes))
        used = affordable(
            runner,
            job,
            (min(fits, sizes[0]), sizes[1]),
            HEAD_SHARE,
        )
        if used[0] < sizes[0]:
            memory = f"their features would take more than {self.config.memory_bytes} bytes"
            late = "features of all of them would leave the head too little time"
            job.progress.say(
                f"classical uses {used[0]} of {sizes[0]} training pictures",
                reason=memory if used[0] == fits else late,
            )
        return (
            subsample(job.train_labels, used[0], job.seed),
            subsample(job.val_labels, used[1], job.seed),
        )


@dataclass(frozen=True)
class FittedClassical:
    """Features and a fitted head.

    Args:
        model: the features as ONNX.
        runner: the same, opened.
        head: on the embedding.
        codebooks: what the encoders learnt.
        story: how it was fitted.
    """

    model: bytes
    runner: OnnxRunner
    head: FittedHead
    codebooks: Mapping[str, NDArray[Any]]
    story: dict[str, Any]
    outputs: tuple[str, ...] = (LOGITS, EMBEDDING)
    licences: tuple[WeightLicence, ...] = ()

    @property
    def steps(self) -> bool:
        """Whether scores change in steps."""
        return self.head.steps

    def logits(self, images_nhwc: ImagesNHWC) -> Scores:
        """Return (n, classes) float32 scores."""
        return self.head.scores(self.runner.run(images_nhwc, (EMBEDDING,))[EMBEDDING])

    def onnx_model(self) -> bytes:
        """Return the features with the head behind them."""
        return self.head.append(self.model)

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """Return the codebooks and the head's arrays."""
        return {**self.codebooks, **self.head.arrays()}


def _arrays(blocks: list[Block]) -> dict[str, NDArray[Any]]:
    return {
        f"{block.key}.{name}": np.ascontiguousarray(value)
        for block in blocks
        for name, value in block.learnt.items()
    }
