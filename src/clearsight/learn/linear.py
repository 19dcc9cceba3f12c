"""Linear heads on fixed features: L-BFGS that keeps a deadline, strength chosen on validation."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clearsight.core.progress import Progress, Silent

Loss = Literal["squared-hinge", "softmax", "sigmoid"]
CURVATURE: dict[Loss, float] = {"squared-hinge": 1.0, "softmax": 0.1, "sigmoid": 0.1}
"""About the mean second derivative of a row's loss; decides speed, not the result."""
Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

CHUNK_BYTES = 8 * 1024 * 1024
"""Rows of features that one thread takes at a time."""
MEMORY = 12
WIDEST_GRAM = 4096
"""Up to so many columns L-BFGS is given the curvature of least squares to start from."""
GRAM_ROWS, GRAM_COLUMNS = 8192, 512
GRAM_SHARE = 0.3
"""Part of the time after which the curvature is given up."""
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Scaling:
    """What is done to features before the head: (x - offset) * factor, column by column."""

    offset: Floats
    factor: Floats

    @classmethod
    def measure(cls, features: Floats) -> Scaling:
        """Return the scaling to mean 0 and standard deviation 1; constant columns become 0."""
        total = np.zeros(features.shape[1])
        squares = np.zeros(features.shape[1])
        pivot = np.asarray(features[0], dtype=np.float32)
        for rows in chunks(features):
            part = features[rows] - pivot
            total += part.sum(axis=0, dtype=np.float64)
            squares += np.einsum("ij,ij->j", part, part, dtype=np.float64)
        mean = total / len(features)
        deviation = np.sqrt(np.maximum(squares / len(features) - mean**2, 0))
        alive = deviation > 1e-6 * max(float(deviation.max()), 1e-30)
        factor = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=alive)
        return cls((pivot + mean).astype(np.float32), factor.astype(np.float32))


@dataclass(frozen=True)
class Head:
    """A linear head on raw features, its scaling folded in.

    Args:
        weight: (d, classes) float32.
        bias: (classes,) float32.
    """

    weight: Floats
    bias: Floats

    def scores(self, features: Floats) -> Floats:
        """Return (n, classes) float32 of (n, d) features."""
        parts = [features[rows] @ self.weight + self.bias for rows in chunks(features)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.bias)), np.float32)


@dataclass(frozen=True)
class Fit:
    """One minimised objective: its parameters on scaled features and what it cost."""

    parameters: NDArray[np.float64]
    objective: float
    iterations: int
    finished: bool


def fit(
    loss: Loss,
    features: Floats,
    labels: Labels,
    classes: int,
    strength: float,
    scaling: Scaling,
    start: NDArray[np.float64] | None = None,
    deadline: float | None = None,
    gram: NDArray[np.float64] | None = None,
    penalty: NDArray[np.float64] | None = None,
    max_iterations: int = 200,
    tolerance: float = TOLERANCE,
) -> Fit:
    """Minimise mean loss + strength / 2 * |weight|^2 on scaled features; the bias is free.

    With "squared-hinge" (one against the rest, summed over classes) this is LinearSVC's objective
    divided by C * n, where strength = 1 / (C * n).

    Args:
        features: (n, d) float32, possibly memory-mapped.
        labels: (n,) int64.
        strength: of the L2 penalty.
        start: (d + 1, classes) parameters to start from.
        deadline: `time.monotonic()` value after which no iteration begins.
        gram: `gram(features, scaling)`; with it far fewer iterations are needed.
        penalty: (d, d) positive semidefinite M; trace(weight^T M weight) instead of |weight|^2.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    shape = (features.shape[1] + 1, classes)
    with threadpool_limits(1, "blas"):
        space = _Space(gram, CURVATURE[loss], strength, penalty)
    first = np.zeros(shape) if start is None else space.enter(start)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = space.leave(flat.reshape(shape))
        value, gradient = _mean_loss(loss, features, labels, parameters, scaling, pool)
        weight = parameters[:-1]
        pulled = weight if penalty is None else penalty @ weight
        value += 0.5 * strength * float(np.vdot(weight, pulled))
        gradient[:-1] += strength * pulled
        return value, space.gradient(gradient).ravel()

    def stop_in_time(intermediate_result: Any) -> None:
        if deadline is not None and time.monotonic() > deadline:
            raise StopIteration

    with workers() as pool:
        result = minimize(
            objective,
            first.ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=stop_in_time,
            options={"maxiter": max_iterations, "maxcor": MEMORY, "ftol": tolerance, "gtol": 1e-6},
        )
    parameters = space.leave(result.x.reshape(shape))
    return Fit(parameters, float(result.fun), int(result.nit), bool(result.success))


def gram(
    features: Floats,
    scaling: Scaling,
    dtype: type[np.floating[Any]] = np.float32,
    until: float | None = None,
) -> NDArray[np.float64] | None:
    """Return the (d, d) mean product of scaled columns, from a sample; None if d is too large.

    Args:
        dtype: of the products; nearly dependent columns need float64.
        until: `time.monotonic()` value after which it is given up (None is returned).
    """
    if features.shape[1] > WIDEST_GRAM:
        return None
    step = max(1, len(features) // GRAM_ROWS)
    total = np.zeros((features.shape[1], features.shape[1]))
    sample = features[::step]
    blocks = [slice(at, at + GRAM_COLUMNS) for at in range(0, len(total), GRAM_COLUMNS)]

    def add(block: slice, part: NDArray[Any]) -> None:
        total[:, block] += part.T @ part[:, block]

    with workers() as pool:
        for rows in chunks(sample):
            if until is not None and time.monotonic() > until:
                return None
            part = ((sample[rows] - scaling.offset) * scaling.factor).astype(dtype, copy=False)
            list(pool.map(add, blocks, repeat(part)))
    return total / len(sample)


class _Space:
    """Coordinates in which the objective is about as curved one way as another."""

    def __init__(
        self,
        gram: NDArray[np.float64] | None,
        curvature: float,
        strength: float,
        penalty: NDArray[np.float64] | None,
    ) -> None:
        self._factor: NDArray[np.float64] | None = None
        if gram is not None:
            curved = curvature * gram
            curved += strength * (np.eye(len(gram)) if penalty is None else penalty)
            self._factor = _factor(curved, 1e-6 * max(float(gram.diagonal().mean()), 1e-12))

    def enter(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._factor is None:
            return parameters
        return np.vstack([self._factor.T @ parameters[:-1], parameters[-1:]])

    def leave(self, inner: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._solve(inner, "T")

    def gradient(self, outer: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._solve(outer, "N")

    def _solve(self, values: NDArray[np.float64], side: str) -> NDArray[np.float64]:
        if self._factor is None:
            return values
        from scipy.linalg import solve_triangular

        solved = solve_triangular(
            self._factor, values[:-1], lower=True, trans=side, check_finite=False
        )
        return np.vstack([solved, values[-1:]])


def _factor(curved: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Cholesky's lower factor of a matrix with as small a ridge as rounding allows."""
    while True:
        curved[np.diag_indices(len(curved))] += ridge
        try:
            return np.asarray(np.linalg.cholesky(curved), dtype=np.float64)
        except np.linalg.LinAlgError:
            ridge *= 10


@dataclass(frozen=True)
class Chosen:
    """The head that was best on validation, and every strength that was tried."""

    head: Head
    accuracy: float
    tried: list[dict[str, Any]]


def choose(
    loss: Loss,
    train: tuple[Floats, Labels],
    val: tuple[Floats, Labels],
    classes: int,
    strengths: Sequence[float],
    deadline: float | None = None,
    progress: Progress | None = None,
    patience: int = 1,
    scaling: Scaling | None = None,
    penalty: NDArray[np.float64] | None = None,
) -> Chosen:
    """Fit from the strongest penalty to the weakest and keep the best on validation.

    Each fit starts from the one before; the path ends when `patience` fits in a row were no
    better, or at the deadline (the first fit always takes at least one step).

    Args:
        train, val: features (n, d) float32 and labels (n,) int64.
        strengths: of the L2 penalty, in any order.
        scaling: None measures mean and deviation of the training part.
        penalty: see `fit`.
    """
    progress = progress or Silent()
    scaling = scaling or Scaling.measure(train[0])
    now = time.monotonic()
    until = None if deadline is None else now + GRAM_SHARE * (deadline - now)
    products = gram(train[0], scaling, np.float32 if penalty is None else np.float64, until)
    best: tuple[tuple[float, float], Head] | None = None
    tried: list[dict[str, Any]] = []
    start, worse = None, 0
    for strength in sorted(strengths, reverse=True):
        result = fit(loss, *train, classes, strength, scaling, start, deadline, products, penalty)
        start = result.parameters
        head = folded(result.parameters, scaling)
        rank = _rank(head.scores(val[0]), val[1])
        record = {"strength": strength, "accuracy": rank[0], "log_loss": -rank[1]}
        tried.append(record | {"iterations": result.iterations, "finished": result.finished})
        progress.advance(1, f"val {rank[0]:.4f}")
        if best is None or rank > best[0]:
            best, worse = (rank, head), 0
        else:
            worse += 1
        if worse >= patience or (deadline is not None and time.monotonic() > deadline):
            break
    assert best is not None, "no strengths were given"
    return Chosen(best[1], best[0][0], tried)


def folded(parameters: NDArray[np.float64], scaling: Scaling) -> Head:
    """Return the head on raw features that equals `parameters` on scaled ones."""
    weight = parameters[:-1] * scaling.factor[:, None]
    bias = parameters[-1] - scaling.offset.astype(np.float64) @ weight
    return Head(weight.astype(np.float32), bias.astype(np.float32))


def _mean_loss(
    loss: Loss,
    features: Floats,
    labels: Labels,
    parameters: NDArray[np.float64],
    scaling: Scaling,
    pool: Executor,
) -> tuple[float, NDArray[np.float64]]:
    """Mean loss and its gradient in the parameters; features stay unscaled in memory."""
    head = folded(parameters, scaling)
    row_loss = ROW_LOSSES[loss]

    def part(rows: slice) -> tuple[float, Floats, NDArray[np.float64]]:
        chosen = features[rows]
        value, by_score = row_loss(chosen @ head.weight + head.bias, labels[rows])
        return value, chosen.T @ by_score, by_score.sum(axis=0, dtype=np.float64)

    total, by_weight = 0.0, np.zeros(parameters[:-1].shape)
    by_bias = np.zeros(parameters.shape[1])
    for value, weight_part, bias_part in pool.map(part, chunks(features)):
        total += value
        by_weight += weight_part
        by_bias += bias_part
    by_weight -= np.outer(scaling.offset, by_bias)
    by_weight *= scaling.factor[:, None]
    return total / len(features), np.vstack([by_weight, by_bias]) / len(features)


@contextmanager
def workers() -> Iterator[Executor]:
    """Give threads that share the rows, each with one BLAS thread.

    BLAS's own threads wait for each other by spinning: five times slower on a machine that does
    anything else. Sums are taken in the order of the chunks, whatever the number of threads.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        yield pool


def _squared_hinge(scores: Floats, labels: Labels) -> tuple[float, Floats]:
    """Sum over rows and classes of max(0, 1 - sign * score)^2, and its gradient."""
    sign = np.full_like(scores, -1)
    sign[np.arange(len(labels)), labels] = 1
    short = np.maximum(1 - sign * scores, 0)
    return float(np.square(short, dtype=np.float64).sum()), -2 * sign * short


def _softmax(scores: Floats, labels: Labels) -> tuple[float, Floats]:
    """Sum over rows of the cross-entropy, and its gradient."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    total = powers.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    value = float((np.log(total[:, 0]) - shifted[rows, labels]).sum(dtype=np.float64))
    gradient = powers / total
    gradient[rows, labels] -= 1
    return value, gradient


def _sigmoid(scores: Floats, labels: Labels) -> tuple[float, Floats]:
    """Sum over rows and classes of the binary cross-entropy, and its gradient.

    `labels` is (n, classes) of 0 and 1.
    """
    value = float((np.logaddexp(0, scores) - labels * scores).sum(dtype=np.float64))
    shares = (0.5 * (1 + np.tanh(0.5 * scores))).astype(np.float32)
    return value, shares - labels.astype(np.float32)


ROW_LOSSES = {"squared-hinge": _squared_hinge, "softmax": _softmax, "sigmoid": _sigmoid}


def _rank(scores: Floats, labels: Labels) -> tuple[float, float]:
    """Accuracy (of every class by itself, where there may be several), then minus the log-loss."""
    if labels.ndim == 2:
        right = float(((scores > 0) == (labels > 0)).mean())
        return right, -_sigmoid(scores, labels)[0] / max(1, len(labels))
    value, _ = _softmax(scores, labels)
    count = max(1, len(labels))
    return float((scores.argmax(axis=1) == labels).sum()) / count, -value / count


def chunks(features: Floats) -> Iterator[slice]:
    """Return slices of rows of about CHUNK_BYTES."""
    rows = max(1, CHUNK_BYTES // (4 * max(1, features.shape[1])))
    for begin in range(0, len(features), rows):
        yield slice(begin, begin + rows)
