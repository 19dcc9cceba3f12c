"""Fashion-MNIST: are scores honest, do sets cover, are unknown pictures noticed?

Usage: python benchmarks/evaluate/trust.py [--model compact] [--epochs 8] [--held-out 0 1 ... 9]
           [--data DIR] [--out FILE]
Cost:  about 25 minutes on 2 quiet cores: one training with all classes, one without each class
       that is held out.

Everything is measured on the test part and comes out of commands that a user has: `train`, then
`evaluate --json`; unknown pictures go through the own familiarity of the Bundle. Unknown are the
handwritten digits of scikit-learn (8 x 8, enlarged), and for every training without a class the
test pictures of that class. Nothing of them was seen in training or in choosing how to reject.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from record import Claim, Measurement, Record, commit, machine, versions

HERE = Path(__file__).resolve().parent
KNOWN = 3000
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


def main() -> None:
    options = parsed()
    about = machine()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        whole = trained(options, write(options.data, work / "all", None), work / "run-all")
        told = evaluated(whole)
        test, labels = part(options.data, "test")
        digits = {"digits": auroc_of(whole, test, enlarged_digits())}
        held = {}
        for column in options.held_out:
            name = f"without-{column}"
            run = trained(options, write(options.data, work / name, column), work / f"run-{name}")
            known, unknown = test[labels != column], test[labels == column]
            held[column] = auroc_of(run, known, unknown)
            print(f"held out {column}: {held[column]}", flush=True)
    record = Record(
        name="evaluate/trust",
        command="python benchmarks/evaluate/trust.py",
        machine=about,
        versions=versions("clearsight", "torch", "onnxruntime", "openvino", "scikit-learn"),
        commit=commit(),
        measurements=measurements(told, digits, held),
        claims=claims(told, digits, held),
    )
    record.write(options.out)
    for claim in record.claims:
        print(f"{'met   ' if claim.met else 'MISSED'} {claim.text}: {claim.got} ({claim.target})")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="compact")
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--held-out", type=int, nargs="*", default=list(range(10)))
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "trust.json")
    return parser.parse_args()


def idx(path: Path) -> np.ndarray:
    content = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(content[3])]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def part(source: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = FILES[name]
    return idx(source / images), idx(source / labels)


def write(source: Path, target: Path, without: int | None) -> Path:
    """Write the data set, without one class where asked, as IDX files."""
    target.mkdir(parents=True)
    for name, files in FILES.items():
        images, labels = part(source, name)
        kept = labels != without if without is not None else np.ones(len(labels), bool)
        for array, file in zip((images[kept], labels[kept]), files, strict=True):
            head = bytes([0, 0, 8, array.ndim])
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            (target / file).write_bytes(gzip.compress(head + sizes + array.tobytes(), 1))
    return target


def trained(options: argparse.Namespace, data: Path, run: Path) -> Path:
    command = [sys.executable, "-m", "clearsight", "train", str(data), "--out", str(run)]
    command += ["--model", options.model, "--epochs", str(options.epochs), "--quiet"]
    subprocess.run(command, check=True)
    return run


def evaluated(run: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "clearsight", "evaluate", str(run), "--json"]
    done = subprocess.run([*command, "--quiet"], check=True, capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def enlarged_digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    grey = [(one * 255 / 16).astype(np.float32) for one in load_digits().images]
    large = [cv2.resize(one, (28, 28), interpolation=cv2.INTER_CUBIC) for one in grey]
    return np.stack(large).clip(0, 255).astype(np.uint8)


def auroc_of(run: Path, known: np.ndarray, unknown: np.ndarray) -> float:
    """Return the AUROC of the Bundle's own familiarity, by scikit-learn."""
    from sklearn.metrics import roc_auc_score

    from clearsight.engines.open import open_predictor

    predictor = open_predictor(run)
    known = known[np.random.default_rng(0).permutation(len(known))[:KNOWN]]
    told = [familiarity(predictor, images) for images in (known, unknown)]
    return float(roc_auc_score(np.r_[np.ones(len(told[0])), np.zeros(len(told[1]))], np.r_[*told]))


def familiarity(predictor: Any, images: np.ndarray) -> np.ndarray:
    found = []
    for start in range(0, len(images), 256):
        some = [predictor.prepare(png(image)) for image in images[start : start + 256]]
        found.append(predictor.recognized(np.stack(some)).familiarity)
    return np.concatenate(found)


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def measurements(
    told: dict[str, Any], digits: dict[str, float], held: dict[int, float]
) -> list[Measurement]:
    one = [
        ("accuracy", "1", told["accuracy"]),
        ("ece", "1", told["ece"]),
        ("ece, equal-mass bins", "1", told["ece_equal_mass"]),
        ("class-wise ece", "1", told["class_wise_ece"]),
    ]
    for level, item in told["conformal"].items():
        one += [
            (f"coverage of {level} % sets", "1", item["coverage"]),
            (f"coverage of {level} % sets, worst class", "1", item["worst_class_coverage"]),
            (f"classes a {level} % set", "classes", item["mean_size"]),
        ]
    one.append(("digits, AUROC", "1", digits["digits"]))
    found = [Measurement.of(name, unit, [value]) for name, unit, value in one]
    if held:
        found.append(Measurement.of("held-out class, AUROC", "1", list(held.values())))
    return found


def claims(told: dict[str, Any], digits: dict[str, float], held: dict[int, float]) -> list[Claim]:
    found = [Claim(text="ECE at most", target=0.01, got=told["ece"], met=told["ece"] <= 0.01)]
    for level, item in told["conformal"].items():
        off = abs(item["coverage"] - int(level) / 100)
        text = f"coverage of {level} % sets is off by at most"
        found.append(Claim(text=text, target=0.015, got=off, met=off <= 0.015))
        worst = item["worst_class_coverage"]
        text = f"worst class's coverage of {level} % sets at least"
        found.append(Claim(text=text, target=0.8, got=worst, met=worst >= 0.8))
    seen = digits["digits"]
    found.append(Claim(text="AUROC of digits at least", target=0.97, got=seen, met=seen >= 0.97))
    if held:
        mean = float(np.mean(list(held.values())))
        text = "mean AUROC of a held-out class at least"
        found.append(Claim(text=text, target=0.9, got=mean, met=mean >= 0.9))
    return found


if __name__ == "__main__":
    main()
