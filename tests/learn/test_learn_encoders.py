"""Bags of words and VLAD are what the papers say; k-means finds the clusters."""

from __future__ import annotations

import time

import numpy as np
import pytest

from clearsight.engines.open import open_session
from clearsight.learn.encoders._kmeans import kmeans
from clearsight.learn.encoders._pooling import regions
from clearsight.learn.encoders.bovw import Bovw
from clearsight.learn.encoders.vlad import Vlad
from clearsight.learn.onnx_graph import EMBEDDING, GraphBuilder

WORDS = np.eye(3, dtype=np.float32)
CORNERS = np.array([[0.1, 0.1], [0.1, 0.9], [0.9, 0.1], [0.9, 0.9]], np.float32)
LEARNT = {"words": WORDS, "bandwidth": np.array([0.1], np.float32)}
VLAD_LEARNT = {**LEARNT, "mean": np.zeros(3, np.float32), "axes": np.eye(3, dtype=np.float32)}


def encoded(encoder: Bovw | Vlad, learnt: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Encode (points, 3) vectors of 0 and 1."""
    graph = GraphBuilder()
    floats = graph.add("Reshape", "images", graph.constant([0, *vectors.shape], np.int64))
    out = encoder.graph(graph, graph.add("Cast", floats, to=1), CORNERS, learnt)
    graph.add("Identity", out, output=EMBEDDING)
    model = graph.build(*vectors.shape, 1, {EMBEDDING: [encoder.length(learnt)]})
    image = vectors.astype(np.uint8)[None, ..., None]
    return open_session(model, "onnxruntime").run(image, (EMBEDDING,))[EMBEDDING][0]


@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_a_bag_counts_words_by_region(assignment: str) -> None:
    bag = Bovw(Bovw.Config(words=3, assignment=assignment))
    vectors = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]])
    got = encoded(bag, LEARNT, vectors).reshape(5, 3)
    wanted = np.sqrt(
        [[2 / 3, 1 / 3, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]]  # whole, then quarters
    )
    np.testing.assert_allclose(got, wanted, atol=2e-2 if assignment == "hard" else 5e-2)


def test_vlad_adds_up_differences_from_the_own_word() -> None:
    vlad = Vlad(Vlad.Config(words=3, assignment="hard", levels=(1,)))
    vectors = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]])
    learnt = VLAD_LEARNT | {"words": np.array([[1, 0, 0], [0, 2, 0], [0, 0, 1]], np.float32)}
    got = encoded(vlad, learnt, vectors).reshape(3, 3)
    assert got[0].tolist() == pytest.approx([0, 1, 0], abs=1e-3)  # the only one not on its word
    assert np.abs(got[1:]).max() < 1e-3


def test_regions_are_the_whole_and_its_quarters() -> None:
    wanted = [[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(regions(CORNERS, (1, 2)), wanted)


def clusters() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(4)
    middles = random.normal(size=(6, 8)).astype(np.float32) * 10
    vectors = middles[random.integers(0, 6, 2000)] + random.normal(size=(2000, 8)) * 0.1
    return middles, vectors.astype(np.float32)


def test_kmeans_is_as_good_as_scikit_learns() -> None:
    from sklearn.cluster import KMeans

    vectors = np.random.default_rng(0).random((3000, 16), dtype=np.float32)
    ours = kmeans(vectors, 20, seed=1)[1]
    theirs = KMeans(20, n_init=1, random_state=0).fit(vectors).inertia_ / len(vectors)
    assert ours < 1.03 * theirs


def test_kmeans_is_the_same_for_one_seed_only() -> None:
    _, vectors = clusters()
    first, second, other = (kmeans(vectors, 6, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_kmeans_ends_after_a_round_when_time_is_up() -> None:
    _, vectors = clusters()
    words, spread = kmeans(vectors, 6, 1, deadline=time.monotonic())
    assert words.shape == (6, 8)
    assert np.isfinite(spread)
    assert spread >= kmeans(vectors, 6, 1)[1]
