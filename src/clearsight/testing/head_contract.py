"""What every head in `learn/heads/` must satisfy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import BaseModel

from clearsight.core.calibration import fit_temperature, softmax
from clearsight.core.config import Config
from clearsight.core.errors import ConfigError, DataError
from clearsight.core.progress import Silent
from clearsight.engines.open import open_session
from clearsight.learn.heads import HEADS, FittedHead
from clearsight.learn.onnx_graph import EMBEDDING, LOGITS, GraphBuilder
from clearsight.testing.contract import Contract

Part = tuple[NDArray[np.float32], NDArray[np.int64]]
SIDE, CLASSES = 3, 4
WIDTH = SIDE * SIDE
LATE_S = 30.0
"""A head whose deadline is over must come back within it, on a busy machine too."""


def pictures(n: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return (n, 3, 3, 1) noisy pictures of four classes, told apart by three pixels together."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    centres = np.random.default_rng(1).integers(60, 190, (CLASSES, WIDTH))
    noise = random.normal(0, 14, (n, WIDTH))
    pixels = np.clip(centres[labels] + noise, 0, 255).astype(np.uint8)
    return pixels.reshape(n, SIDE, SIDE, 1), labels.astype(np.int64)


FACTOR = np.array([1e-4, 1e-2, 0.1, 1, 1, 10, 100, 1e4, 0], np.float32)
"""Columns of very different size, and one that is constant."""


def features(n: int, seed: int = 0) -> Part:
    """Return (n, 9) float32 features of `pictures`, and labels."""
    pixels, labels = pictures(n, seed)
    return pixels.reshape(n, -1).astype(np.float32) * FACTOR, labels


def features_model() -> bytes:
    """Return ONNX that computes `features`."""
    graph = GraphBuilder()
    flat = graph.add("Flatten", graph.add("Cast", "images", to=1), axis=1)
    graph.add("Mul", flat, graph.constant(FACTOR), output=EMBEDDING)
    return graph.build(SIDE, SIDE, 1, {EMBEDDING: [WIDTH]})


def fit(
    head: Any, train: Part, val: Part, classes: int = CLASSES, seconds: float | None = None
) -> FittedHead:
    """Fit the head with its defaults."""
    deadline = None if seconds is None else time.monotonic() + seconds
    fitted: FittedHead = head(head.Config()).fit(train, val, classes, 0, deadline, Silent())
    return fitted


def _accuracy(fitted: FittedHead, part: Part) -> float:
    return float((fitted.scores(part[0]).argmax(axis=1) == part[1]).mean())


class HeadContract(Contract):
    """Clauses every head satisfies; an implementation is the head's class."""

    registry = HEADS

    def check_names_its_source(self, head: Any) -> None:
        """The docstring names a source; options are strict and have defaults."""
        assert "Source:" in (head.__doc__ or "")
        assert issubclass(head.Config, BaseModel)
        with pytest.raises(ConfigError):
            head.Config.parse({"no_such_option": 1})

    def check_learns(self, head: Any) -> None:
        """Easy classes are told apart; the story is JSON and its accuracy is true."""
        fitted, val = fit(head, features(240), features(200, 5)), features(200, 5)
        assert _accuracy(fitted, features(200, 7)) >= 0.9
        assert abs(json.loads(json.dumps(fitted.story))["val_accuracy"]) <= 1
        assert abs(fitted.story["val_accuracy"] - _accuracy(fitted, val)) < 1e-6

    def check_same_seed_same_arrays(self, head: Any) -> None:
        """Two fits with one seed give the same arrays, bit for bit, all named "head...."."""
        one, other = (fit(head, features(120), features(60, 5)).arrays() for _ in range(2))
        assert one
        assert set(one) == set(other)
        for name, value in one.items():
            assert name.startswith("head.")
            assert value.dtype.kind in "fiub"
            assert np.array_equal(value, other[name])

    def check_export(self, head: Any) -> None:
        """Both engines give the scores from pictures; "logits" comes before what was there."""
        train, val = features(120), features(60, 5)
        pixels, _ = pictures(64, 9)
        pixels[0], pixels[1] = 0, 255
        for classes in (CLASSES, CLASSES + 2):
            fitted = fit(head, train, val, classes)
            model = fitted.append(features_model())
            wanted = fitted.scores(pixels.reshape(64, -1).astype(np.float32) * FACTOR)
            for engine in ("onnxruntime", "openvino"):
                session = open_session(model, engine)
                assert session.outputs == (LOGITS, EMBEDDING)
                got = session.run(pixels, (LOGITS,))[LOGITS]
                assert np.abs(got - wanted).max() <= 1e-3 * max(1.0, np.abs(wanted).max())
                assert np.abs(softmax(got) - softmax(wanted)).max() <= 1e-4

    def check_batch(self, head: Any) -> None:
        """A batch gives what its rows give one by one; no rows give no scores."""
        fitted, (rows, _) = fit(head, features(120), features(60, 5)), features(20, 9)
        together = fitted.scores(rows)
        assert together.shape == (20, CLASSES)
        assert together.dtype == np.float32
        alone = np.concatenate([fitted.scores(rows[i : i + 1]) for i in range(20)])
        assert np.abs(together - alone).max() <= 1e-4 * max(1.0, np.abs(together).max())
        assert fitted.scores(rows[:0]).shape == (0, CLASSES)

    def check_absent_classes(self, head: Any) -> None:
        """Classes without training pictures have the lowest finite scores, wherever they stand."""
        rows, labels = features(120)
        known = (labels != 1) & (labels != 3)
        fitted = fit(head, (rows[known], labels[known]), features(60, 5), CLASSES + 1)
        scores = fitted.scores(features(50, 9)[0])
        assert scores.shape == (50, CLASSES + 1)
        assert np.isfinite(scores).all()
        assert (scores[:, [1, 3, 4]].max(axis=1) < scores[:, [0, 2]].min(axis=1)).all()
        assert fitted.story["val_accuracy"] <= 0.5, "pictures of unknown classes are errors"

    def check_odd_sizes(self, head: Any) -> None:
        """One class, one row a class, fewer rows than classes, one column, no validation."""
        rows, labels = features(40)
        few = (rows[:3], labels[:3])
        one, two = labels == 2, labels < 2
        for train, val, classes in (
            ((rows[one], labels[one]), few, CLASSES),
            ((rows[two], labels[two]), few, 2),
            (few, few, CLASSES),
            ((rows[:1], labels[:1]), few, 1),
            ((rows[:, 3:4], labels), (rows[:3, 3:4], labels[:3]), CLASSES),
            ((np.zeros_like(rows), labels), few, CLASSES),
            ((rows, labels), (rows[:0], labels[:0]), CLASSES),
        ):
            scores = fit(head, train, val, classes).scores(rows[:, : train[0].shape[1]])
            assert scores.shape == (40, classes)
            assert np.isfinite(scores).all()

    def check_far_features(self, head: Any) -> None:
        """Features far outside the training part still have finite scores."""
        fitted = fit(head, features(120), features(60, 5))
        rows = features(20, 9)[0]
        for factor in (0, -1e6, 1e6, 1e12):
            assert np.isfinite(fitted.scores(rows * np.float32(factor))).all()

    def check_deadline(self, head: Any) -> None:
        """A deadline that is over still gives a head better than chance, soon."""
        began = time.monotonic()
        fitted = fit(head, features(4000), features(400, 5), seconds=-1)
        assert time.monotonic() - began < LATE_S
        assert _accuracy(fitted, features(200, 7)) > 1.5 / CLASSES

    def check_calibrates(self, head: Any) -> None:
        """One temperature makes probabilities of the scores, better than even shares."""
        fitted, (rows, labels) = fit(head, features(120), features(60, 5)), features(200, 9)
        scores = fitted.scores(rows)
        temperature = fit_temperature(scores, labels)
        share = softmax(scores, temperature)[np.arange(200), labels]
        assert -np.log(share).mean() < 0.7 * np.log(CLASSES)

    def check_refuses_bad_labels(self, head: Any) -> None:
        """No pictures, and labels outside the classes, are typed errors."""
        rows, labels = features(40)
        for train in ((rows[:0], labels[:0]), (rows, labels - 1), (rows, labels + CLASSES)):
            with pytest.raises(DataError):
                fit(head, train, (rows, labels))

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        random = np.random.default_rng()

        def one_third(train: Part) -> Part:
            return train[0], np.zeros_like(train[1])

        def late(train: Part) -> Part:
            raise TimeoutError

        def nan_when_far(rows: Any, scores: Any) -> Any:
            return np.where(np.abs(rows).max(initial=0) > 1e10, np.nan, scores)

        def by_place(rows: Any, scores: Any) -> Any:
            return scores + np.arange(len(rows), dtype=np.float32)[:, None]

        return {
            "check_names_its_source": planted(doc="A head."),
            "check_learns": planted(seen=one_third),
            "check_same_seed_same_arrays": planted(
                arrays=lambda old: {**old, "head.bias": random.normal(size=CLASSES)}
            ),
            "check_export": planted(scored=lambda rows, scores: scores + scores[:, :1] + 1),
            "check_batch": planted(scored=by_place),
            "check_absent_classes": planted(scored=lambda rows, scores: scores[:, ::-1]),
            "check_odd_sizes": planted(
                scored=lambda rows, scores: scores * float(len(scores[0]) > 1 or "nan")
            ),
            "check_far_features": planted(scored=nan_when_far),
            "check_deadline": planted(seen=late),
            "check_calibrates": planted(scored=lambda rows, scores: -scores),
            "check_refuses_bad_labels": planted(
                seen=lambda train: (train[0], train[1].clip(0, CLASSES - 1))
            ),
        }


def planted(
    doc: str = "A head with a defect. Source: none.",
    seen: Callable[[Part], Part] = lambda train: train,
    scored: Callable[[Any, Any], Any] = lambda rows, scores: scores,
    arrays: Callable[[Any], Any] = lambda old: old,
) -> type:
    """Return a linear machine with one thing changed.

    Args:
        doc: its docstring.
        seen: what the fit makes of the training part.
        scored: what becomes of the scores of features.
        arrays: what becomes of the arrays.
    """
    sound = HEADS.load("linear-svm")

    class Fitted:
        def __init__(self, inner: FittedHead) -> None:
            self._inner, self.story, self.append = inner, inner.story, inner.append

        def scores(self, rows: Any) -> Any:
            return scored(rows, self._inner.scores(rows))

        def arrays(self) -> Any:
            return arrays(self._inner.arrays())

    class Planted:
        __doc__ = doc
        Config: ClassVar[type[Config]] = sound.Config

        def __init__(self, config: Any) -> None:
            self._head = sound(config)

        def fit(self, train: Part, *others: Any) -> Fitted:
            return Fitted(self._head.fit(seen(train), *others))

    return Planted
