"""A contest with planted recognizers: how good each is and how long it takes are given."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clearsight.core.nouns import Preprocessing
from clearsight.core.progress import Silent
from clearsight.data.cache import PixelCache
from clearsight.learn.choose import Candidate
from clearsight.learn.contest import Trained, ignore
from clearsight.learn.family import Facts
from clearsight.learn.onnx_graph import GraphBuilder
from clearsight.learn.settings import TrainSettings

SIZE = Preprocessing(height=4, width=4, channels=1)
CLASSES = ("a", "b")
N_VAL = 400


def pictures(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures of which the top left pixel tells the class (bright is 1)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n)
    images = random.integers(0, 256, (n, 4, 4, 1)).astype(np.uint8)
    images[:, 0, 0, 0] = np.where(labels == 1, 200, 50)
    return images, labels


def onnx_of(pixel: float, noise: float, place: int = 4) -> bytes:
    """Return a model whose margin is `pixel` * (top left pixel) + `noise` * (one at `place`)."""
    graph = GraphBuilder()
    floats = graph.add("Cast", "images", to=1)
    flat = graph.add("Flatten", floats)
    weight = np.zeros((16, 2), np.float32)
    weight[0] = (-pixel / 100, pixel / 100)
    weight[place] = (-noise / 100, noise / 100)
    bias = np.array([1.25, -1.25], np.float32) * (pixel + noise)
    graph.add("Gemm", flat, graph.constant(weight), graph.constant(bias), output="logits")
    return graph.build(4, 4, 1, {"logits": [2]})


@dataclass(frozen=True)
class Planted:
    """A model that is right as often as was planted."""

    model: bytes
    runner: Any
    story: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ("logits",)
    licences: tuple[Any, ...] = ()
    steps: bool = False

    def logits(self, images_nhwc):
        return self.runner.run(images_nhwc)["logits"]

    def onnx_model(self):
        return self.model

    def weights(self):
        return {"planted": np.zeros(1, np.float32)}


@dataclass(frozen=True)
class Ground:
    """Stands in for `Contest`; `plans` says what training each candidate does.

    Args:
        plans: by key: (weight of the telling pixel, of the noise, seconds a training takes).
    """

    work: Path
    plans: dict[str, Any]
    settings: TrainSettings
    seams: Any
    facts: Facts
    parts: dict[str, Any]
    calls: list[tuple[str, str, float]] = field(default_factory=list)
    progress: Any = field(default_factory=Silent)
    remedy: Any = None

    def train(self, candidate, budget, name, report=ignore):
        began = time.monotonic()
        self.calls.append((candidate.key, name, budget.remaining_s()))
        plan = self.plans[candidate.key]
        if isinstance(plan, Exception):
            raise plan
        pixel, noise, seconds, *place = plan
        if callable(seconds):
            seconds = seconds(len(self.parts["train"]))
        take(max(0.0, min(seconds, budget.remaining_s())))
        model = onnx_of(pixel, noise, *place)
        story = {"features_s": 0.01, "features_computed": 40} if candidate.key == "probe" else {}
        fitted = Planted(model, self.seams.open_model(model), story)
        val = self.pixels(SIZE)[1]
        logits = fitted.logits(val.images)
        accuracy = float((logits.argmax(1) == val.labels).mean())
        figures = {"accuracy": accuracy, "log_loss": 1 - accuracy}
        return Trained(
            candidate, None, fitted, SIZE, val, logits, 1.0, figures, (), time.monotonic() - began
        )

    def pixels(self, preprocessing):
        return tuple(
            PixelCache(images, labels, np.arange(len(labels)), ())
            for images, labels in (pictures(40, 1), pictures(N_VAL, 2))
        )


def take(seconds: float) -> None:
    """Let a training take its time; a test with a planted clock moves that instead."""
    time.sleep(seconds)


class Part:
    """A part of a data set of which only the length matters."""

    def __init__(self, n: int) -> None:
        self._n = n

    def __len__(self) -> int:
        return self._n


def ground(work: Path, plans: dict[str, Any], time_s: float | None, n: int = 40) -> Ground:
    """Return a ground; see `Ground`."""
    from types import SimpleNamespace

    from clearsight.engines.open import open_session

    settings = TrainSettings(time_s=time_s, epochs=None if time_s else 1)
    facts = Facts(CLASSES, (n // 2, n - n // 2), 4, 4, True, time_s=time_s)
    seams = SimpleNamespace(open_model=lambda model: open_session(model, "onnxruntime"))
    parts = {"train": Part(n), "val": Part(N_VAL)}
    return Ground(work, plans, settings, seams, facts, parts)


def candidates(*keys: str) -> list[Candidate]:
    """Return candidates: "classical" and "probe" finish, others gain from time."""
    quick = {"classical": 0.1, "probe": 1.0}
    return [Candidate(key, {}, quick.get(key, 1.0), "planted", key not in quick) for key in keys]
