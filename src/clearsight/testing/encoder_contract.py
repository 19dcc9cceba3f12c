"""What every encoder in `learn/encoders/` must satisfy."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from clearsight.core.config import Config
from clearsight.core.errors import ConfigError
from clearsight.core.nouns import Preprocessing
from clearsight.engines.open import open_session
from clearsight.learn.encoders import ENCODERS, Learnt, Points, Vectors
from clearsight.learn.onnx_graph import EMBEDDING, GraphBuilder
from clearsight.testing.contract import Contract

SIDE, POINTS, LENGTH = 4, 16, 24


class EncoderContract(Contract):
    """Clauses every encoder satisfies; an implementation is the encoder's class."""

    registry = ENCODERS

    def check_config_round_trips(self, encoder: Any) -> None:
        """Plain values and back; an unknown option is refused; a source is named."""
        config = encoder(encoder.Config()).config
        assert encoder.Config.parse(config.model_dump(mode="json")) == config
        with pytest.raises(ConfigError):
            encoder.Config.parse({"no_such_option": 1})
        assert "Source:" in (encoder.__doc__ or "")

    def check_same_seed_same_codebook(self, encoder: Any) -> None:
        """Learnt twice with one seed, every array is float32 and the same to the bit."""
        first, second = (_learnt(encoder) for _ in range(2))
        assert set(first) == set(second)
        for name, array in first.items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, second[name])

    def check_length_is_as_declared(self, encoder: Any) -> None:
        """`length` says what the graph gives."""
        learnt = _learnt(encoder)
        got = encoded(encoder, learnt, _sample(3))
        assert got.shape == (3, encoder(encoder.Config()).length(learnt))

    def check_learns_from_few(self, encoder: Any) -> None:
        """One vector, or many that are all the same, are enough for a finite encoding."""
        for vectors in (_vectors(1), np.zeros((50, LENGTH), np.float32)):
            learnt = encoder(encoder.Config()).learn(vectors, 1, None)
            assert np.isfinite(encoded(encoder, learnt, _sample(2))).all()

    def check_order_of_points(self, encoder: Any) -> None:
        """Points and their vectors in another order give the same."""
        learnt, images = _learnt(encoder), _sample(3)
        order = np.random.default_rng(2).permutation(POINTS)
        moved = encoded(encoder, learnt, images[:, order], _points()[order])
        assert np.abs(encoded(encoder, learnt, images) - moved).max() <= 1e-5

    def check_flat_points_count_for_nothing(self, encoder: Any) -> None:
        """Vectors of zeros change nothing; nothing but zeros is finite."""
        learnt, images = _learnt(encoder), _sample(2)
        more = np.concatenate([images, np.full_like(images, 128)], axis=1)
        points = np.concatenate([_points(), _points()])
        plain, padded = encoded(encoder, learnt, images), encoded(encoder, learnt, more, points)
        assert np.abs(plain - padded).max() <= 1e-5
        assert np.isfinite(encoded(encoder, learnt, np.full_like(images, 128))).all()

    def check_engines_agree(self, encoder: Any) -> None:
        """ONNX Runtime and OpenVINO give the same numbers."""
        learnt, images = _learnt(encoder), _sample(8)
        first = encoded(encoder, learnt, images, engine="onnxruntime")
        second = encoded(encoder, learnt, images, engine="openvino")
        assert np.abs(first - second).max() <= 1e-3

    def check_tells_vectors_apart(self, encoder: Any) -> None:
        """Other vectors give another encoding."""
        found = encoded(encoder, _learnt(encoder), _sample(2))
        assert np.abs(found[0] - found[1]).max() > 1e-3

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""
        return {
            "check_config_round_trips": _lax(),
            "check_same_seed_same_codebook": _planted(learn=_moody),
            "check_length_is_as_declared": _planted(length=lambda learnt: 1),
            "check_learns_from_few": _planted(learn=_needs_two),
            "check_order_of_points": _planted(change=_first_point),
            "check_flat_points_count_for_nothing": _planted(change=_mean),
            "check_engines_agree": _planted(change=_noise),
            "check_tells_vectors_apart": _planted(change=_nothing),
        }


def encoded(
    encoder: Any,
    learnt: Learnt,
    images: NDArray[np.uint8],
    points: Points | None = None,
    engine: str = "onnxruntime",
) -> NDArray[np.float32]:
    """Return (n, length) of vectors (n, points, d) given as uint8, 128 for 0, 255 for 1."""
    made, places = encoder(encoder.Config()), _points() if points is None else points
    graph = GraphBuilder()
    shape = graph.constant([0, *images.shape[1:]], np.int64)
    floats = graph.add("Reshape", graph.add("Cast", "images", to=1), shape)
    centred = graph.add("Sub", floats, graph.constant(128))
    vectors = graph.add("Mul", centred, graph.constant(1 / 127))
    out = made.graph(graph, vectors, places, learnt)
    graph.add("Identity", out, output=EMBEDDING)
    size = Preprocessing(height=images.shape[1], width=images.shape[2], channels=1)
    model = graph.build(size.height, size.width, size.channels, {EMBEDDING: [made.length(learnt)]})
    return open_session(model, engine).run(images[..., None], (EMBEDDING,))[EMBEDDING]


def _vectors(n: int) -> Vectors:
    random = np.random.default_rng(3)
    kinds = random.normal(size=(12, LENGTH))
    noisy = kinds[random.integers(0, len(kinds), n)] + 0.3 * random.normal(size=(n, LENGTH))
    return np.asarray(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), dtype=np.float32)


def _sample(n: int) -> NDArray[np.uint8]:
    vectors = _vectors(n * POINTS).reshape(n, POINTS, LENGTH)
    return np.asarray(np.clip(np.round(vectors * 127 + 128), 0, 255), dtype=np.uint8)


def _points() -> Points:
    line = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
    return np.asarray(grid.reshape(-1, 2), dtype=np.float32)


def _learnt(encoder: Any) -> Learnt:
    found: Learnt = encoder(encoder.Config()).learn(_vectors(800), 7, None)
    return found


def _planted(learn: Any = None, length: Any = None, change: Any = None) -> type:
    """Return an encoder that adds the vectors up, with one defect."""

    class Planted:
        """Adds up. Source: none."""

        class Config(Config):
            """No options."""

        def __init__(self, config: Any) -> None:
            self.config = config

        def learn(self, vectors: Vectors, seed: int, deadline: float | None) -> Learnt:
            found: Learnt = learn(vectors) if learn else {"mean": vectors.mean(axis=0)}
            return found

        def length(self, learnt: Learnt) -> int:
            return int(length(learnt)) if length else LENGTH

        def graph(self, graph: GraphBuilder, vectors: str, points: Points, learnt: Learnt) -> str:
            if change:
                return str(change(graph, vectors))
            return graph.add("ReduceSum", vectors, graph.constant([1], np.int64), keepdims=0)

    return Planted


def _lax() -> type:
    class Lax(_planted()):  # type: ignore[misc]
        """Takes every option. Source: none."""

        class Config(Config):
            model_config: ClassVar[Any] = {"extra": "ignore"}

    return Lax


def _moody(vectors: Vectors) -> Learnt:
    return {"words": np.random.default_rng().normal(size=(2, LENGTH)).astype(np.float32)}


def _needs_two(vectors: Vectors) -> Learnt:
    return {"words": vectors[[0, 1]]}


def _first_point(graph: GraphBuilder, vectors: str) -> str:
    return graph.add("Gather", vectors, graph.constant(0, np.int64), axis=1)


def _mean(graph: GraphBuilder, vectors: str) -> str:
    return graph.add("ReduceMean", vectors, axes=[1], keepdims=0)


def _noise(graph: GraphBuilder, vectors: str) -> str:
    total = graph.add("ReduceSum", vectors, graph.constant([1], np.int64), keepdims=0)
    return graph.add("Add", total, graph.add("RandomUniformLike", total))


def _nothing(graph: GraphBuilder, vectors: str) -> str:
    total = graph.add("ReduceSum", vectors, graph.constant([1], np.int64), keepdims=0)
    return graph.add("Mul", total, graph.constant(0))
