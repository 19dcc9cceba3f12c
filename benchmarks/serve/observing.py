"""What it costs to count a picture: metrics, drift and the request's line, in microseconds.

python benchmarks/serve/observing.py
"""

import gc
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from prometheus_client import CollectorRegistry, Histogram
from record import Claim, Measurement, Record, commit, machine, versions

from clearsight.core.nouns import Prediction
from clearsight.core.reference import reference_of
from clearsight.serve.calls import Observation
from clearsight.serve.metrics import SECONDS, Metrics
from clearsight.serve.operations.monitors import Monitors

PICTURES, ROUNDS = 20_000, 7
PICTURE_S = 0.005  # what one picture takes on one core, EfficientNet-Lite0


def seconds(work):
    """Return microseconds a call of each round."""
    found = []
    gc.disable()
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(PICTURES):
            work()
        found.append((time.perf_counter() - started) / PICTURES * 1e6)
    gc.enable()
    return found


def main():
    draw = np.random.default_rng(0)
    rows = draw.dirichlet(np.ones(10), 500).astype(np.float32)
    embeddings = draw.normal(size=(256, 1280)).astype(np.float32)
    prediction = Prediction(("a", "b"), (0.7, 0.3))
    values = ("r", "m", "1", "k", prediction, None, 0.001, 0.001, 0.004, 1)
    plain, embedded = Observation(*values), Observation(*values, embeddings[0])
    metrics = Metrics()
    classes = tuple("abcdefghij")
    answers = Monitors(lambda model, version: (reference_of(rows), classes), 10**9)
    features = Monitors(lambda model, version: (reference_of(rows, embeddings), classes), 10**9)
    registry = CollectorRegistry()
    labels = ["model", "version"]
    rivals = [Histogram(f"s{i}", "x", labels, buckets=SECONDS, registry=registry) for i in range(4)]

    def with_the_library():
        for histogram in rivals:
            histogram.labels("m", "1").observe(0.004)

    measured = [
        Measurement.of(name, "us", seconds(work))
        for name, work in (
            ("metrics of a picture", lambda: metrics.observe(plain)),
            ("the same four histograms of prometheus-client", with_the_library),
            ("metrics of a request", lambda: metrics.answered("/v1/recognize", 200, 0.006)),
            ("drift of answers", lambda: answers.observe(plain)),
        )
    ]
    features_us = []
    for _ in range(ROUNDS):  # what is collected grows, so fewer of these
        started = time.perf_counter()
        for _ in range(2000):
            features.observe(embedded)
        features_us.append((time.perf_counter() - started) / 2000 * 1e6)
    measured.append(Measurement.of("drift of answers and features (1280)", "us", features_us))
    read = []
    for number in range(40):
        metrics.observe(Observation("r", f"m{number}", "1", "k", *values[4:]))
    for _ in range(ROUNDS):
        started = time.perf_counter()
        metrics.text()
        read.append((time.perf_counter() - started) * 1e3)
    measured.append(Measurement.of("reading /metrics of 40 models", "ms", read))
    cost = statistics.median(measured[0].values) + statistics.median(measured[2].values)
    cost += statistics.median(measured[3].values)
    share = cost * 1e-6 / PICTURE_S
    text = "counting a picture takes at most 1 % of its 5 ms"
    Record(
        name="serve/observing",
        command="python benchmarks/serve/observing.py",
        machine=machine(),
        versions=versions("numpy", "prometheus-client"),
        commit=commit(),
        measurements=measured,
        claims=[Claim(text=text, target=0.01, got=round(share, 4), met=share <= 0.01)],
    ).write(Path(__file__).parent / "results" / "observing.json")
    for each in measured:
        print(f"{each.name:50} {each.median:9.2f} {each.unit} (spread {each.spread:.2f})")
    print(f"{text}: {share:.2%}")


if __name__ == "__main__":
    main()
