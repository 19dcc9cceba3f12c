"""What a checkpoint belongs to."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from torch import nn

from clearsight.learn.family import Job
from clearsight.learn.trainers._device import Device
from clearsight.learn.trainers.recipe import Pipeline, Recipe


def identity(
    network: nn.Module, job: Job, recipe: Recipe, pipeline: Pipeline, device: Device
) -> str:
    """Return a digest of everything that decides the weights, the clock apart."""
    values = {
        "shapes": {name: list(value.shape) for name, value in network.state_dict().items()},
        "seed": job.seed,
        "epochs": job.budget.epochs,
        "recipe": [pipeline.told, recipe.max_epochs],
        "images": [list(job.train_images.shape), _digest(job.train_images[:64])],
        "labels": _digest(job.train_labels),
        "device": device.name,
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _digest(values: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
