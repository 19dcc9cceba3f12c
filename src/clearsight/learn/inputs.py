"""What a training works on: the train and validation parts, cut to what can be decoded in time."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping

import numpy as np

from clearsight.core.errors import ConfigError, ImageError
from clearsight.core.nouns import Task
from clearsight.core.progress import Progress
from clearsight.core.seeds import generator
from clearsight.data.dataset import Dataset
from clearsight.data.facts import image_facts
from clearsight.learn.family import Facts
from clearsight.learn.settings import TrainSettings

DECODE_SHARE = 0.4
"""Largest share of the time that decoding the training pictures may take."""
DECODE_SAMPLE = 16
VAL_SHARE = 0.2
"""Validation pictures decoded at most, as a share of the training pictures."""

Parts = dict[str, Dataset]


def affordable_parts(dataset: Dataset, settings: TrainSettings, progress: Progress) -> Parts:
    """Return the train and validation parts, cut where decoding them would take too long.

    How much is too long is measured here, so the sizes belong into the run's record.

    Args:
        dataset: split.
        settings: `time_s` and `seed` count.
        progress: told of every cut.
    """
    parts: Parts = {"train": dataset.part("train"), "val": dataset.part("val")}
    if settings.time_s is None or dataset.reader == "idx":
        return parts
    decode_s = _decode_s(parts["train"], settings.seed) / (os.cpu_count() or 1)
    affordable = max(len(dataset.classes), int(DECODE_SHARE * settings.time_s / decode_s))
    sizes = {"train": affordable, "val": max(len(dataset.classes), int(VAL_SHARE * affordable))}
    for name, part in parts.items():
        if len(part) > sizes[name]:
            progress.say(
                f"Using {sizes[name]} of {len(part)} pictures of {name}",
                reason=f"decoding all would take more than {DECODE_SHARE:.0%} of --time",
            )
    return cut(parts, sizes, settings.seed)


def cut(parts: Parts, sizes: Mapping[str, int], seed: int) -> Parts:
    """Return the parts with at most so many pictures, chosen class by class in turn."""
    return {
        name: _subsample(part, sizes[name], seed) if len(part) > sizes[name] else part
        for name, part in parts.items()
    }


def find_facts(parts: Parts, settings: TrainSettings) -> Facts:
    """Return what is known of the training part before a family is chosen."""
    train = parts["train"]
    seen = image_facts(train, settings.seed)
    return Facts(
        task=task_of(train, settings),
        classes=train.classes,
        class_counts=train.counts(),
        height=seen.height,
        width=seen.width,
        grey=seen.grey,
        from_files=train.reader != "idx",
        time_s=settings.time_s,
    )


def task_of(dataset: Dataset, settings: TrainSettings) -> Task:
    """Return the task: what the settings say where the data can be read so.

    Raises:
        ConfigError: the settings contradict the data.
    """
    wanted = settings.task or dataset.task
    if (wanted == "multi-label") != (dataset.task == "multi-label"):
        raise ConfigError(
            f"The task {wanted!r} does not fit {dataset.root}, which is {dataset.task}. Pictures "
            "with any number of classes come from a manifest with the column 'labels'."
        )
    return wanted


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
    ranked, strata = [], part.strata()
    for index in order:
        label = strata[index]
        seen[label] = seen.get(label, 0) + 1
        ranked.append((seen[label], int(index)))
    return part.select(sorted(index for _, index in sorted(ranked)[:size]))
