"""Where everything stands in the pictures of a comparison: scales, ticks, points, labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clearsight.evaluate.comparison import Comparison, Standing, price_of

MANTISSAS = (1, 2, 5)
ERRORS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75)
DOT = 9.0
LETTER_WIDTH, LETTER_HEIGHT = 6.4, 13.0

Tick = tuple[float, str]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Frame:
    """Where a plot's axes stand, in the picture's units."""

    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True)
class Point:
    """One recognizer in a plot.

    Args:
        standing: who.
        place: 1 is best.
        x, y, low_y, high_y: its dot and the ends of its accuracy's interval.
        label: where its name stands (x, y, text-anchor), or None where there is no room.
        front: nobody beats it in both.
    """

    standing: Standing
    place: int
    x: float
    y: float
    low_y: float
    high_y: float
    label: tuple[float, float, str] | None
    front: bool


@dataclass(frozen=True)
class Plot:
    """Accuracy against a cost, ready to be drawn.

    Args:
        frame: the axes.
        points: in the order of their places.
        x_ticks, y_ticks: position and text.
        line: the front from left to right, as an SVG polyline's points.
    """

    frame: Frame
    points: tuple[Point, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    line: str


class AccuracyScale:
    """Places accuracies so that halving the errors is the same step everywhere.

    Near the top a linear axis would push the best recognizers into one dot.

    Args:
        standings: what must fit, with intervals.
        n: pictures; no error rate below half a picture is drawn.
        at_worst, at_best: positions of the ends.
    """

    def __init__(
        self, standings: Sequence[Standing], n: int, at_worst: float, at_best: float
    ) -> None:
        self._floor = 0.5 / n
        low = min(item.accuracy.low for item in standings)
        high = max(item.accuracy.high for item in standings)
        self._worst, self._best = self._log(low) + 0.06, self._log(high) - 0.06
        self._at_worst, self._at_best = at_worst, at_best

    def __call__(self, accuracy: float) -> float:
        """Return the position of an accuracy."""
        share = (self._worst - self._log(accuracy)) / (self._worst - self._best)
        return self._at_worst + share * (self._at_best - self._at_worst)

    def ticks(self) -> tuple[Tick, ...]:
        """Return round accuracies inside the range, worst first, with their texts."""
        inside = [e for e in ERRORS if self._best <= math.log(e) <= self._worst]
        step = 2 if len(inside) > 7 else 1
        return tuple((self(1 - e), f"{100 * (1 - e):.4g} %") for e in inside[::-step])

    def _log(self, accuracy: float) -> float:
        return math.log(max(self._floor, 1 - accuracy))


def plot(found: Comparison, cost: str, frame: Frame) -> Plot:
    """Return accuracy against "latency" or "size"; both axes are logarithmic.

    Args:
        found: the comparison.
        cost: see `Comparison.front`.
        frame: where it is drawn.
    """
    prices = [price_of(item, cost) for item in found.standings]
    x_of = _log_scale(min(prices) / 1.4, max(prices) * 1.4, frame)
    y_of = AccuracyScale(found.standings, found.n, frame.bottom, frame.top)
    spots = [
        (x_of(p), y_of(i.accuracy.value)) for p, i in zip(prices, found.standings, strict=True)
    ]
    labels = _labels(spots, [item.contender.name for item in found.standings], frame)
    front = set(found.front(cost))
    points = tuple(
        Point(
            standing=item,
            place=place,
            x=spot[0],
            y=spot[1],
            low_y=y_of(item.accuracy.low),
            high_y=y_of(item.accuracy.high),
            label=label,
            front=item.contender.name in front,
        )
        for place, (item, spot, label) in enumerate(
            zip(found.standings, spots, labels, strict=True), 1
        )
    )
    steps = sorted((point.x, point.y) for point in points if point.front)
    return Plot(
        frame=frame,
        points=points,
        x_ticks=tuple((x_of(v), _price(v, cost)) for v in _round_between(prices)),
        y_ticks=y_of.ticks(),
        line=" ".join(f"{x:.1f},{y:.1f}" for x, y in steps),
    )


def _log_scale(low: float, high: float, frame: Frame) -> Callable[[float], float]:
    span = math.log(high / low)
    return lambda value: frame.left + math.log(value / low) / span * (frame.right - frame.left)


def _round_between(prices: Sequence[float]) -> list[float]:
    """Return 1, 2, 5, 10, ... within the range, or only powers of ten where those are many."""
    low, high = min(prices) / 1.4, max(prices) * 1.4
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    wanted = [m * 10.0**p for p in powers for m in MANTISSAS if low <= m * 10.0**p <= high]
    tens = [v for v in wanted if math.log10(v).is_integer()]
    return tens if len(wanted) > 8 and len(tens) > 1 else wanted


def _price(value: float, cost: str) -> str:
    return f"{value:g} ms" if cost == "latency" else f"{value / 1e6:g} MB"


def _labels(
    spots: Sequence[tuple[float, float]], names: Sequence[str], frame: Frame
) -> list[tuple[float, float, str] | None]:
    """Find room for every name beside its dot, the best first; a name without room is left out."""
    taken: list[Box] = [(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in spots]
    found: list[tuple[float, float, str] | None] = []
    for (x, y), name in zip(spots, names, strict=True):
        width = LETTER_WIDTH * len(name)
        choices = {
            (x + DOT + 4, y + 4, "start"): x + DOT + 3,
            (x - DOT - 4, y + 4, "end"): x - DOT - 4 - width,
            (x, y - DOT - 5, "middle"): x - width / 2,
            (x, y + DOT + 12, "middle"): x - width / 2,
        }
        for spot, left in choices.items():
            box = (left, spot[1] - LETTER_HEIGHT + 2, left + width, spot[1] + 2)
            inside = frame.left <= box[0] and box[2] <= frame.right and frame.top <= box[1]
            if inside and box[3] <= frame.bottom and not any(_meet(box, other) for other in taken):
                taken.append(box)
                found.append(spot)
                break
        else:
            found.append(None)
    return found


def _meet(one: Box, other: Box) -> bool:
    across = one[0] < other[2] and other[0] < one[2]
    return across and one[1] < other[3] and other[1] < one[3]
