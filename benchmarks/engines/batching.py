"""Ways to use the cores for a batch, and what it costs to start an engine.

    python benchmarks/engines/batching.py [--rounds 7]

A batch of 64 pictures (EfficientNet-Lite0, 224 x 224, random weights) is run
- as clearsight does: pieces of one picture over one-thread streams, side by side,
- as libraries do by default: the whole batch at once, threads inside the operators,
by both engines, in turns. Then each engine is started in a fresh process: import, compile, first
picture. Takes about 2 minutes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import openvino

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "serve" / "parts"))
import record
from lite0_bundle import SIZE, export

from clearsight.engines.open import open_session
from clearsight.engines.session import cores

HERE = Path(__file__).parent
PICTURES = 64
START = """
import sys, time
began = time.perf_counter()
import numpy as np
from clearsight.engines.open import open_session
session = open_session(open(sys.argv[1], "rb").read(), sys.argv[2])
session.run(np.zeros((1, {size}, {size}, 3), np.uint8))
print(time.perf_counter() - began)
"""


def whole_batch(model: bytes, engine: str) -> Callable[[np.ndarray], object]:
    """Open a model the way the library's own documentation begins."""
    if engine == "onnxruntime":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        return lambda images: session.run(None, {"images": images})
    network = openvino.Core().read_model(model=model, weights=b"")
    compiled = openvino.Core().compile_model(
        network, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    )
    return lambda images: compiled(images)


def start_s(path: Path, engine: str) -> float:
    program = START.format(size=SIZE)
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), engine],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    machine = record.machine()
    model = export()
    images = np.random.default_rng(0).integers(0, 256, (PICTURES, SIZE, SIZE, 3), dtype=np.uint8)
    ways: dict[str, Callable[[np.ndarray], object]] = {}
    for engine in ("openvino", "onnxruntime"):
        ways[f"{engine}, pieces over streams"] = open_session(model, engine).run
        ways[f"{engine}, whole batch"] = whole_batch(model, engine)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for run in ways.values():
        run(images)
    for _ in range(rounds):
        for way, run in ways.items():
            began = time.perf_counter()
            run(images)
            rates[way].append(PICTURES / (time.perf_counter() - began))
    starts: dict[str, list[float]] = {"openvino": [], "onnxruntime": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        for _ in range(rounds):
            for engine, seconds in starts.items():
                seconds.append(start_s(path, engine))
    write(machine, rounds, rates, starts)


def write(
    machine: dict[str, str | int | float],
    rounds: int,
    rates: dict[str, list[float]],
    starts: dict[str, list[float]],
) -> None:
    of = record.Measurement.of
    claims = []
    for engine in starts:
        pieces, whole = rates[f"{engine}, pieces over streams"], rates[f"{engine}, whole batch"]
        ratio = statistics.median(a / b for a, b in zip(pieces, whole, strict=True))
        text = f"{engine}: pieces over one-thread streams are no slower than a whole batch"
        claims.append(record.Claim(text=text, target=1.0, got=round(ratio, 3), met=ratio >= 1))
    gain = statistics.median(
        slow - fast for slow, fast in zip(starts["openvino"], starts["onnxruntime"], strict=True)
    )
    text = "seconds that onnxruntime starts earlier than openvino (why it runs few pictures)"
    claims.append(record.Claim(text=text, target=0.0, got=round(gain, 3), met=gain > 0))
    measured = [of(way, "images/s", values) for way, values in rates.items()]
    measured += [of(f"{engine}, start", "s", values) for engine, values in starts.items()]
    result = record.Record(
        name="engines/batching",
        command=f"python benchmarks/engines/batching.py --rounds {rounds}",
        machine=machine,
        versions=record.versions("openvino", "onnxruntime", "numpy", "torch", "timm"),
        commit=record.commit(),
        measurements=measured,
        claims=claims,
    )
    result.write(HERE / "batching.json")
    print(result.model_dump_json(indent=1))


if __name__ == "__main__":
    main()
