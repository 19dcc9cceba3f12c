"""Fashion-MNIST made long-tailed: `--set imbalance=off` (plain cross-entropy) beside `auto`.

Usage: python benchmarks/learn/long_tail.py [--seeds 0 1 2] [--epochs 8] [--data DIR] [--out FILE]
Cost:  about 10 minutes on 2 quiet cores. Both sides of a pair follow each other, so a machine
       that is busy throughout still tells their ratio.

The training part keeps n_max * ratio^(-i / 9) pictures of its i-th class, as in Cao et al. 2019
(section 4), chosen by the seed; the test part is whole. Which class is rare matters: in the data
set's own order the classes that are hard to tell apart are frequent, but for one. So two orders are
measured: the data set's own, as in the literature, and one drawn by the seed. Both
sides train the same family for the same passes with the same seed; the test part is scored once
a training, by `clearsight evaluate`. Controls: an even set and one of ratio 3 must give the
same model on both sides, and a ratio of 10 must not be harmed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from record import Claim, Measurement, Record, commit, machine, versions

HERE = Path(__file__).resolve().parent
RATIO, MILD, MILDEST = 100.0, 10.0, 3.0
FIGURES = ("balanced_accuracy", "worst_class_recall", "accuracy")
SIDES = ("off", "auto")
OWN, DRAWN = "classes in the data set's order", "classes in a random order"


def main() -> None:
    options = parsed()
    about = machine()
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for seed in options.seeds:
            for name, drawn in ((OWN, False), (DRAWN, True)):
                data = long_tailed(options.data, work / "data", RATIO, seed, drawn)
                found.setdefault(name, []).append(pair(data, work, seed, options))
        first = options.seeds[0]
        controls = {}
        for ratio in (1.0, MILDEST, MILD):
            data = long_tailed(options.data, work / "data", ratio, first, True, most=1000)
            controls[ratio] = pair(data, work, first, options)
    record = Record(
        name="learn/long_tail",
        command="python benchmarks/learn/long_tail.py",
        machine=about,
        versions=versions("clearsight", "torch", "onnxruntime", "openvino"),
        commit=commit(),
        measurements=[*measurements(found), *control_measurements(controls)],
        claims=[*claims(found), *control_claims(controls)],
    )
    record.write(options.out)
    for claim in record.claims:
        print(f"{'met   ' if claim.met else 'MISSED'} {claim.text}: {claim.got} ({claim.target})")


def long_tailed(
    source: Path, target: Path, ratio: float, seed: int, drawn: bool, most: int | None = None
) -> Path:
    """Write the data set with long-tailed training pictures and return its folder.

    Args:
        source: the folder of the four gzipped IDX files.
        ratio: of the largest class to the smallest.
        drawn: order the classes by the seed instead of by their numbers.
        most: pictures of the largest class; None takes all.
    """
    images = idx(source / "train-images-idx3-ubyte.gz")
    labels = idx(source / "train-labels-idx1-ubyte.gz")
    random = np.random.default_rng(seed)
    classes = int(labels.max()) + 1
    order = random.permutation(classes) if drawn else np.arange(classes)
    rows = []
    for place, label in enumerate(order):
        members = random.permutation(np.flatnonzero(labels == label))
        largest = min(len(members), most or len(members))
        rows += members[: round(largest * ratio ** (-place / (classes - 1)))].tolist()
    chosen = np.sort(rows)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name, array in (("images-idx3", images[chosen]), ("labels-idx1", labels[chosen])):
        (target / f"train-{name}-ubyte").write_bytes(idx_bytes(array))
    for name in ("images-idx3", "labels-idx1"):
        (target / f"t10k-{name}-ubyte").write_bytes(
            gzip.decompress((source / f"t10k-{name}-ubyte.gz").read_bytes())
        )
    return target


def idx(path: Path) -> Any:
    """Read a gzipped IDX file of bytes."""
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, 4).astype(int)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def idx_bytes(array: Any) -> bytes:
    """Return an IDX file of bytes."""
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + np.ascontiguousarray(array, np.uint8).tobytes()


def pair(data: Path, work: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train and score both sides; which one goes first alternates with the seed."""
    sides = SIDES if seed % 2 == 0 else SIDES[::-1]
    return {side: trained(data, work / "run", side, seed, options) for side in sides}


def trained(
    data: Path, run: Path, side: str, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Train once by the command line, then score the test part once."""
    program = str(Path(sys.executable).with_name("clearsight"))
    shutil.rmtree(run, ignore_errors=True)
    train = [program, "train", str(data), "--out", str(run), "--model", options.model]
    limit = ["--epochs", str(options.epochs), "--seed", str(seed), "--quiet", "--json"]
    began, spent = time.monotonic(), processor_s()
    command = [*train, *limit, "--set", f"imbalance={side}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    told = {"wall_s": time.monotonic() - began, "processor_s": processor_s() - spent}
    about = json.loads((run / "run.json").read_text())["outcome"]["story"].get("imbalance")
    evaluate = [program, "evaluate", str(run), "--quiet", "--json"]
    done = subprocess.run(evaluate, check=True, capture_output=True, text=True)
    figures = json.loads(done.stdout)
    told |= {name: figures[name] for name in FIGURES}
    told["model"] = (run / "bundle" / "model.onnx").read_bytes()
    shown = ", ".join(f"{name} {told[name]:.4f}" for name in FIGURES)
    print(f"seed {seed}, {side}: {shown}, {told['wall_s']:.1f} s; {about}", flush=True)
    return told


def processor_s() -> float:
    """Return the processor time of finished children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measurements(found: dict[str, list[dict[str, Any]]]) -> list[Measurement]:
    told = []
    for order, pairs in found.items():
        for side in SIDES:
            for name, unit in (*((f, "") for f in FIGURES), ("wall_s", "s"), ("processor_s", "s")):
                values = [each[side][name] for each in pairs]
                told.append(Measurement.of(f"{order}, {side}, {name}", unit, values))
    return told


def claims(found: dict[str, list[dict[str, Any]]]) -> list[Claim]:
    """Return the issue's targets for either order; the extra time over all pairs."""
    told = []
    for order, pairs in found.items():
        for name, target in (("balanced_accuracy", 6.0), ("worst_class_recall", 20.0)):
            got = statistics.mean(100 * gain(each, name) for each in pairs)
            text = f"{order}: mean gain in {name}, points, at least {target:g}"
            told.append(Claim(text=text, target=target, got=round(got, 2), met=got >= target))
    for clock in ("wall_s", "processor_s"):
        both = [each for pairs in found.values() for each in pairs]
        extra = statistics.median(
            100 * (each["auto"][clock] / each["off"][clock] - 1) for each in both
        )
        text = f"extra {clock} of the whole command, median, percent, under 5"
        told.append(Claim(text=text, target=5.0, got=round(extra, 2), met=extra < 5))
    return told


def gain(each: dict[str, Any], name: str) -> float:
    return float(each["auto"][name] - each["off"][name])


def control_measurements(controls: dict[float, dict[str, Any]]) -> list[Measurement]:
    return [
        Measurement.of(f"ratio {ratio:g}, {side}, {name}", "", [each[side][name]])
        for ratio, each in controls.items()
        for side in SIDES
        for name in FIGURES
    ]


def control_claims(controls: dict[float, dict[str, Any]]) -> list[Claim]:
    told = []
    for ratio in (1.0, MILDEST):
        same = controls[ratio]["off"]["model"] == controls[ratio]["auto"]["model"]
        text = f"ratio {ratio:g} is left alone: the same model (1 is yes)"
        told.append(Claim(text=text, target=1.0, got=float(same), met=same))
    got = round(100 * gain(controls[MILD], "balanced_accuracy"), 2)
    text = f"ratio {MILD:g} is not harmed: gain in balanced_accuracy, points, at least 0"
    told.append(Claim(text=text, target=0.0, got=got, met=got >= 0))
    return told


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "long_tail.json")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--model", default="compact")
    return parser.parse_args()


if __name__ == "__main__":
    main()
