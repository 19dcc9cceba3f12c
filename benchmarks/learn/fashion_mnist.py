"""Fashion-MNIST: `clearsight train --model compact` beside the textbook Keras network.

Usage: python benchmarks/learn/fashion_mnist.py [--seeds 0 1 2] [--half-hour] [--model compact]
       [--keras-env DIR] [--data DIR] [--out FILE]
Cost:  about 8 minutes a seed on 2 cores (Keras, an eighth of its time, and its time), with
       --half-hour 30 minutes more, plus the installation of tensorflow-cpu when DIR holds none.
Keep the machine quiet: both sides are timed by the clock on the wall.

Times are those of whole processes, start of the interpreter included: Keras until `fit` returns,
`clearsight train` until it exits with its Bundle on disk. The test part is scored once per seed,
after training, by `clearsight evaluate`. TensorFlow runs in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from record import Claim, Measurement, Record, commit, machine, versions

HERE = Path(__file__).resolve().parent
KERAS_EPOCHS = 10
HALF_HOUR_S = 1795.0
ROOM = 0.98  # of the time allowed is given to --time, so that the whole process keeps within it
REQUIREMENTS = ("tensorflow-cpu",)


def main() -> None:
    options = parsed()
    about = machine()
    keras_python = environment(options.keras_env)
    keras = [keras_run(keras_python, options.data, seed) for seed in options.seeds]
    keras_s = statistics.median(run["total_s"] for run in keras)
    keras_accuracy = statistics.mean(run["accuracy"] for run in keras)
    settings = (options.data, options.model)
    short = [clearsight_run(*settings, ROOM * keras_s / 8, seed) for seed in options.seeds]
    long = [clearsight_run(*settings, ROOM * keras_s, seed) for seed in options.seeds]
    hour = [clearsight_run(*settings, HALF_HOUR_S, 0)] if options.half_hour else []
    measurements = [
        Measurement.of("Keras, fit", "s", [run["fit_s"] for run in keras]),
        Measurement.of("Keras, whole process", "s", [run["total_s"] for run in keras]),
        Measurement.of("Keras, test accuracy", "", [run["accuracy"] for run in keras]),
    ]
    sides = (("an eighth of Keras's time", short), ("Keras's time", long), ("half an hour", hour))
    for name, runs in sides:
        if not runs:
            continue
        told = f"clearsight in {name}"
        for what, unit in (("total_s", "s"), ("accuracy", ""), ("epochs", "epochs")):
            values = [run[what] for run in runs]
            label = {"total_s": "whole process", "accuracy": "test accuracy"}.get(what, what)
            measurements.append(Measurement.of(f"{told}, {label}", unit, values))
    record = Record(
        name="learn/fashion_mnist",
        command=command(options),
        machine=about,
        versions=versions("clearsight", "torch", "onnxruntime", "openvino") | keras[0]["versions"],
        commit=commit(),
        measurements=measurements,
        claims=claims(keras_s, keras_accuracy, short, long, hour),
    )
    record.write(options.out)
    for claim in record.claims:
        print(f"{'met   ' if claim.met else 'MISSED'} {claim.text}: {claim.got} ({claim.target})")


def command(options: argparse.Namespace) -> str:
    """Return what repeats this, without this machine's folders."""
    words = ["python benchmarks/learn/fashion_mnist.py", "--model", options.model]
    words += ["--seeds", *map(str, options.seeds), *["--half-hour"] * options.half_hour]
    return " ".join(words)


def claims(keras_s: float, keras_accuracy: float, short: Any, long: Any, hour: Any) -> list[Claim]:
    """Return the targets, each as an accuracy and a time."""

    def mean(runs: Any) -> float:
        return round(statistics.mean(run["accuracy"] for run in runs), 4)

    def slowest(runs: Any) -> float:
        return round(max(run["total_s"] for run in runs) / keras_s, 3)

    found = []
    sides = (
        ("an eighth of Keras's time", short, round(keras_accuracy, 4), 1 / 8),
        ("Keras's time", long, 0.94, 1.0),
        ("half an hour", hour, 0.953, None),
    )
    for name, runs, accuracy, share in sides:
        if not runs:
            continue
        text = f"mean accuracy in {name}, at least {accuracy}"
        met = mean(runs) >= accuracy
        found.append(Claim(text=text, target=accuracy, got=mean(runs), met=met))
        if share is not None:
            text = f"slowest of those, as part of Keras's time, at most {share:g}"
            met = slowest(runs) <= share
            found.append(Claim(text=text, target=share, got=slowest(runs), met=met))
    return found


def keras_run(python: Path, data: Path, seed: int) -> dict[str, Any]:
    """Train and score the textbook network once."""
    script = str(HERE / "keras_textbook.py")
    command = [str(python), script, str(data), str(seed), str(KERAS_EPOCHS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    run: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"Keras seed {seed}: {run['accuracy']:.4f} in {run['total_s']:.1f} s", flush=True)
    return run


def clearsight_run(data: Path, model: str, seconds: float, seed: int) -> dict[str, Any]:
    """Train once by the command line, then score the test part once."""
    program = str(Path(sys.executable).with_name("clearsight"))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train = [program, "train", str(data), "--out", str(run), "--model", model]
        limit = ["--time", f"{seconds:.1f}s", "--seed", str(seed), "--quiet", "--json"]
        began = time.monotonic()
        subprocess.run([*train, *limit], check=True, stdout=subprocess.DEVNULL)
        total_s = time.monotonic() - began
        story = json.loads((run / "run.json").read_text())["outcome"]["story"]
        evaluate = [program, "evaluate", str(run), "--quiet", "--json"]
        done = subprocess.run(evaluate, check=True, capture_output=True, text=True)
        accuracy = json.loads(done.stdout)["accuracy"]
    print(f"clearsight {seconds:.0f} s, seed {seed}: {accuracy:.4f} in {total_s:.1f} s", flush=True)
    return {"total_s": total_s, "accuracy": accuracy, "epochs": story.get("epochs", 0)}


def environment(folder: Path | None) -> Path:
    """Return the Python of an environment with TensorFlow; it is made when it is not there."""
    folder = folder or Path(tempfile.gettempdir()) / "clearsight-keras"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS]
        subprocess.run(install, check=True)
    return python


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--keras-env", type=Path, help="environment with tensorflow, made if absent"
    )
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "fashion_mnist.json")
    parser.add_argument("--half-hour", action="store_true")
    parser.add_argument("--model", default="compact", help="as `clearsight train --model`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    return parser.parse_args()


if __name__ == "__main__":
    main()
