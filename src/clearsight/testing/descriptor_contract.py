"""What every descriptor in `learn/descriptors/` must satisfy."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from clearsight.core.config import Config
from clearsight.core.errors import ConfigError
from clearsight.core.nouns import ImagesNHWC, Preprocessing
from clearsight.engines.open import open_session
from clearsight.learn.descriptors import DESCRIPTORS
from clearsight.learn.feature_graph import points_model
from clearsight.learn.onnx_graph import EMBEDDING, GraphBuilder
from clearsight.testing.contract import Contract

SIZES = (
    Preprocessing(height=28, width=28, channels=1),
    Preprocessing(height=16, width=40, channels=3),
    Preprocessing(height=72, width=56, channels=3),
)


class DescriptorContract(Contract):
    """Clauses every descriptor satisfies; an implementation is the descriptor's class."""

    registry = DESCRIPTORS

    def check_config_round_trips(self, descriptor: Any) -> None:
        """Plain values and back; an unknown option is refused; a source is named."""
        config = descriptor(descriptor.Config()).config
        assert descriptor.Config.parse(config.model_dump(mode="json")) == config
        with pytest.raises(ConfigError):
            descriptor.Config.parse({"no_such_option": 1})
        assert "Source:" in (descriptor.__doc__ or "")

    def check_kind(self, descriptor: Any) -> None:
        """A global descriptor has one point, a local one several; all are in the picture."""
        assert descriptor.kind in ("global", "local")
        for size in SIZES:
            points = descriptor(descriptor.Config()).points(size)
            assert points.shape[1] == 2
            assert (len(points) == 1) == (descriptor.kind == "global")
            assert ((points >= 0) & (points <= 1)).all()

    def check_shape_is_as_declared(self, descriptor: Any) -> None:
        """`points` and `length` say what the graph gives, for grey, colour, long pictures."""
        for size in SIZES:
            made = descriptor(descriptor.Config())
            wanted = (3, len(made.points(size)) * made.length(size))
            assert described(made, size, _pictures(size, 3)).shape == wanted

    def check_same_model_every_time(self, descriptor: Any) -> None:
        """Built twice, the graph is the same byte for byte."""
        first, second = (points_model(descriptor(descriptor.Config()), SIZES[0]) for _ in range(2))
        assert first == second

    def check_engines_agree(self, descriptor: Any) -> None:
        """ONNX Runtime and OpenVINO give the same numbers."""
        for size in SIZES[1:]:
            made, images = descriptor(descriptor.Config()), _pictures(size, 4)
            first = described(made, size, images, "onnxruntime")
            second = described(made, size, images, "openvino")
            assert np.abs(first - second).max() <= 1e-3

    def check_batch_is_one_by_one(self, descriptor: Any) -> None:
        """What a picture gives does not depend on the others."""
        for size in SIZES[:2]:
            made, images = descriptor(descriptor.Config()), _pictures(size, 3)
            together = described(made, size, images)
            alone = np.concatenate(
                [described(made, size, images[i : i + 1]) for i in range(len(images))]
            )
            assert np.abs(together - alone).max() <= 1e-5

    def check_finite_at_extremes(self, descriptor: Any) -> None:
        """Black, white and checkered pictures give finite numbers."""
        for size in SIZES:
            shape = (size.height, size.width, size.channels)
            checkers = np.indices(shape[:2]).sum(axis=0)[..., None] % 2 * np.full(shape, 255)
            images = np.stack([np.zeros(shape), np.full(shape, 255), checkers]).astype(np.uint8)
            assert np.isfinite(described(descriptor(descriptor.Config()), size, images)).all()

    def check_tells_pictures_apart(self, descriptor: Any) -> None:
        """Different pictures give different numbers, and a local one different points."""
        made = descriptor(descriptor.Config())
        found = described(made, SIZES[1], _pictures(SIZES[1], 3))
        assert np.abs(found[0] - found[1]).max() > 1e-3
        if descriptor.kind == "local":
            by_point = found[0].reshape(len(made.points(SIZES[1])), -1)
            assert np.abs(by_point[0] - by_point[-1]).max() > 1e-3

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        return {
            "check_config_round_trips": _lax(),
            "check_kind": _planted(kind="local"),
            "check_shape_is_as_declared": _planted(length=lambda size: 3),
            "check_same_model_every_time": _planted(change=_moody()),
            "check_engines_agree": _planted(change=_undefined),
            "check_batch_is_one_by_one": _planted(change=_over_the_batch),
            "check_finite_at_extremes": _planted(change=_logarithm),
            "check_tells_pictures_apart": _planted(change=_times_zero),
        }


def described(
    descriptor: Any, size: Preprocessing, images: ImagesNHWC, engine: str = "onnxruntime"
) -> NDArray[np.float32]:
    """Return (n, points * length) of pictures, computed by an engine."""
    return open_session(points_model(descriptor, size), engine).run(images, (EMBEDDING,))[EMBEDDING]


def _pictures(size: Preprocessing, n: int) -> ImagesNHWC:
    random = np.random.default_rng(5)
    shape = (n, size.height, size.width, size.channels)
    coarse = random.integers(0, 256, (n, 1 + size.height // 8, 1 + size.width // 8, shape[3]))
    large = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, : shape[1], : shape[2]]
    noisy = np.clip(large + random.integers(-20, 20, shape), 0, 255)
    return np.asarray(noisy, dtype=np.uint8)


def _planted(change: Any = None, kind: Any = "global", length: Any = None) -> type:
    """Return a descriptor that is each channel's mean, with one defect."""

    class Planted:
        """The mean colour. Source: none."""

        class Config(Config):
            """No options."""

        def __init__(self, config: Any) -> None:
            self.config = config

        def length(self, size: Preprocessing) -> int:
            return int(length(size)) if length else size.channels

        def points(self, size: Preprocessing) -> NDArray[np.float32]:
            return np.full((1, 2), 0.5, np.float32)

        def graph(self, graph: GraphBuilder, images: str, size: Preprocessing) -> str:
            floats = graph.add("Cast", images, to=1)
            mean = graph.add("ReduceMean", floats, axes=[1, 2], keepdims=0)
            return change(graph, mean) if change else mean

    Planted.kind = kind  # type: ignore[attr-defined]
    return Planted


def _lax() -> type:
    class Lax(_planted()):  # type: ignore[misc]
        """Takes every option. Source: none."""

        class Config(Config):
            model_config: ClassVar[Any] = {"extra": "ignore"}

    return Lax


def _moody() -> Any:
    calls = itertools.count(1)
    return lambda graph, mean: graph.add("Mul", mean, graph.constant(next(calls)))


def _undefined(graph: GraphBuilder, mean: str) -> str:
    noise = graph.add("RandomUniformLike", mean)
    return graph.add("Add", mean, graph.add("Mul", noise, graph.constant(9)))


def _over_the_batch(graph: GraphBuilder, mean: str) -> str:
    return graph.add("Sub", mean, graph.add("ReduceMean", mean, axes=[0], keepdims=1))


def _logarithm(graph: GraphBuilder, mean: str) -> str:
    return graph.add("Log", mean)


def _times_zero(graph: GraphBuilder, mean: str) -> str:
    return graph.add("Mul", mean, graph.constant(0))
