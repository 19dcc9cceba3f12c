"""A family for tests of searches: how good it gets follows from its options, at once."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from race_ground import Planted, onnx_of

from clearsight.core.config import Config
from clearsight.core.errors import ClearsightError
from clearsight.core.nouns import Preprocessing
from clearsight.learn.family import FAMILIES, Capabilities


class PlantedConfig(Config):
    """Its options: a good `skill` is 0.5, and `kind` b cannot be trained."""

    skill: float = Field(default=0.2, gt=0)
    noise: float = Field(default=0.1, ge=0, lt=1)
    kind: Literal["a", "b"] = "a"
    seconds: float | None = None
    side: int = 4


class PlantedFamily:
    """Trains at once; reports as a trainer would."""

    Config: ClassVar[type[Config]] = PlantedConfig
    capabilities: ClassVar[Capabilities] = Capabilities()
    fits: ClassVar[list[Any]] = []

    def __init__(self, config: Any) -> None:
        self.config = config

    def preprocessing(self, facts):
        return Preprocessing(height=4, width=4, channels=1)

    def fit(self, job):
        type(self).fits.append(self.config)
        if self.config.kind == "b":
            raise ClearsightError("the loss is not a number")
        away = abs(np.log(self.config.skill / 0.5))
        for step in range(1, 5):
            time.sleep((self.config.seconds or 0) / 4)
            job.report(step / 4, float(np.exp(-away)) * step / 4)
        model = onnx_of(1.0, float(away))
        return Planted(model, job.open_model(model), {"planted": True})


class _EntryPoint:
    value = "planted"

    def load(self):
        return PlantedFamily


def plant(monkeypatch) -> type[PlantedFamily]:
    """Make the family known as "planted" for one test."""
    PlantedFamily.fits = []
    monkeypatch.setitem(FAMILIES.__dict__, "_entry_points", {"planted": _EntryPoint()})
    return PlantedFamily


def write_bright_and_dark(folder, per_class=40):
    """Write tiny pictures of which the top left pixel tells the class."""
    import cv2
    from race_ground import pictures

    images, labels = pictures(4 * per_class, 5)
    for label, name in enumerate(("dark", "bright")):
        (folder / name).mkdir(parents=True)
        for number, row in enumerate(np.flatnonzero(labels == label)[:per_class]):
            cv2.imwrite(str(folder / name / f"{number:03d}.png"), images[row, :, :, 0])
    return folder
