"""How often two seeds of one configuration are called different, and a truly worse one is not.

Usage: python benchmarks/evaluate/seed_comparisons.py [--models compact textbook hog]
       [--train 6000] [--epochs 4] [--seeds 21] [--data DIR] [--out FILE] [--short]
Cost:  about 20 minutes on 2 quiet cores; --short (2 models, 6 seeds, 2,000 pictures) 3 minutes.

Every configuration is trained with so many seeds on a part of Fashion-MNIST (or, where that is
not installed, on scikit-learn's digits), a seed deciding the weights, the order of the pictures
and which of them validate. Every two of its trainings are compared on the whole test part, each
couple by itself as `clearsight compare RUN RUN` would. The control is the same configuration
trained on an eighth of the pictures: comparing it with the whole must say that they differ.
`pairs.LUCK` and `pairs.LEVEL` were chosen while looking at such trainings, `compact` with these
defaults among them, on the same test pictures (docs/explanation/comparing.md): for evidence of its
own give other --train, --epochs or --data.
"""

from __future__ import annotations

import argparse
import itertools
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from record import Claim, Measurement, Record, commit, machine, versions

from clearsight import api
from clearsight.core.progress import Silent
from clearsight.data.dataset import read_dataset
from clearsight.engines.open import open_predictor
from clearsight.evaluate.pairs import Answers, find_pairs
from clearsight.evaluate.score import score_pictures

HERE = Path(__file__).resolve().parent
FASHION = Path("/usr/share/datasets/fashion-mnist")
ALLOWED = 0.05
CONTROL_SHARE, CONTROL_SEEDS = 8, 3
CONTROL_FOUND = 0.95


def main() -> None:
    options = parsed()
    about = machine()
    measurements: list[Measurement] = []
    claims: list[Claim] = []
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder) / "whole", Path(folder) / "part"
        write_parts(options.data, whole, part, options.train)
        for model in options.models:
            seeds = trained(model, whole, options.epochs, options.seeds, Path(folder) / model)
            control = trained(
                model, part, options.epochs, CONTROL_SEEDS, Path(folder) / f"{model}-control"
            )
            called = [differ(*couple) for couple in itertools.combinations(seeds, 2)]
            found = [differ(one, other) for one in seeds for other in control]
            measurements += [
                accuracies(model, seeds),
                accuracies(f"{model}, an eighth of the pictures", control),
            ]
            claims += claims_of(model, called, found)
            print(*(f"{claim.text}: {claim.got}" for claim in claims[-2:]), sep="\n", flush=True)
    Record(
        name="evaluate/seed_comparisons",
        command=f"python benchmarks/evaluate/seed_comparisons.py {' '.join(sys.argv[1:])}".strip(),
        machine=about,
        versions=versions("clearsight", "numpy", "torch", "scikit-learn", "openvino"),
        commit=commit(),
        measurements=measurements,
        claims=claims,
    ).write(options.out)


def claims_of(model: str, called: list[bool], found: list[bool]) -> list[Claim]:
    """Return what is aimed at and what was got, for one configuration."""
    wrong, right = float(np.mean(called)), float(np.mean(found))
    return [
        Claim(
            text=f"{model}: share of {len(called)} couples of seeds called different, at most",
            target=ALLOWED,
            got=round(wrong, 4),
            met=wrong <= ALLOWED,
        ),
        Claim(
            text=f"{model}: share of {len(found)} couples with the control called different",
            target=CONTROL_FOUND,
            got=round(right, 4),
            met=right >= CONTROL_FOUND,
        ),
    ]


def accuracies(name: str, trainings: list[Answers]) -> Measurement:
    values = [float(answers.correct.mean()) for answers in trainings]
    return Measurement.of(f"{name}: test accuracy", "", values)


def differ(one: Answers, other: Answers) -> bool:
    return find_pairs({"one": one, "other": other})[0].different


def trained(model: str, data: Path, epochs: float, seeds: int, folder: Path) -> list[Answers]:
    """Train once for every seed and return what each recognised of the test part."""
    folder.mkdir()
    test = read_dataset(data).part("test")
    labels = np.array([sample.label for sample in test.samples], dtype=np.int64)
    found = []
    for seed in range(seeds):
        wanted = {"epochs": epochs, "time": None} if has_epochs(model) else {"time": "10m"}
        settings = api.train_settings(
            None, [], model=model, seed=seed, **{"epochs": None, **wanted}
        )
        run = folder / str(seed)
        api.train_run(data, run, settings, Silent(), None, resume=False)
        scored, kept = score_pictures(open_predictor(run), test, Silent(), [])
        found.append(Answers(np.array(kept, dtype=np.int64), labels[kept], scored.correct))
        print(f"{model} seed {seed}: {scored.correct.mean():.4f}", flush=True)
    return found


def has_epochs(model: str) -> bool:
    """Return whether a model is trained by passes over the pictures."""
    from clearsight.learn.family import FAMILIES

    return model in FAMILIES.keys() and FAMILIES.load(model).capabilities.gradients  # noqa: SIM118


def write_parts(source: Path, whole: Path, part: Path, count: int) -> None:
    """Write `count` training pictures by chance, an eighth of them, and the test part beside."""
    images, labels, test_images, test_labels = pictures(source)
    order = np.random.default_rng(0).permutation(len(images))[:count]
    for folder, chosen in ((whole, order), (part, order[: len(order) // CONTROL_SHARE])):
        folder.mkdir()
        write_idx(folder / "train-images-idx3-ubyte", images[chosen])
        write_idx(folder / "train-labels-idx1-ubyte", labels[chosen])
        write_idx(folder / "t10k-images-idx3-ubyte", test_images)
        write_idx(folder / "t10k-labels-idx1-ubyte", test_labels)


def pictures(source: Path) -> tuple[NDArray[np.uint8], ...]:
    """Return training and test pictures with their labels."""
    if source.is_dir():
        from clearsight.data.readers.idx import read_idx

        names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
        return tuple(read_idx(source / f"{name}-ubyte.gz") for name in names)
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images * 255 / 16).round().astype(np.uint8)
    labels = digits.target.astype(np.uint8)
    return images[:900], labels[:900], images[900:], labels[900:]


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    head = struct.pack(">BBBB", 0, 0, 8, values.ndim)
    path.write_bytes(head + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes())


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["compact", "textbook", "hog"])
    parser.add_argument("--train", type=int, default=6000)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--seeds", type=int, default=21)
    parser.add_argument("--data", type=Path, default=FASHION)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "seed_comparisons.json")
    parser.add_argument("--short", action="store_true", help="a few minutes; proves little")
    options = parser.parse_args()
    if options.short:
        options.models, options.seeds, options.train = ["compact", "hog"], 6, 2000
    return options


if __name__ == "__main__":
    main()
