"""int8 beside fp32: pictures a second and accuracy lost, ResNet-50 and EfficientNet-Lite0.

    python benchmarks/serve/optimize.py [--precision int8] [--val 1000] [--max-drop 0.5]

Both networks get a linear head for ten regions of scikit-image's photos (small random crops, 224
pixels): Lite0 on its packaged ImageNet weights; ResNet-50, of which no weights are packaged, on
random ones with batch statistics of the pictures, so its loss is that of the graph, not that of a
network trained on ImageNet. Then `clearsight optimize` itself quantises, judges and measures: forms
take turns in every round, so the ratio is what counts. Takes about 10 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import record

from clearsight.convert import optimize as convert
from clearsight.core.bundle import MODEL, write_bundle
from clearsight.core.errors import GateError
from clearsight.core.nouns import Preprocessing
from clearsight.core.progress import Silent
from clearsight.data.dataset import read_dataset
from clearsight.data.preprocess import prepare_encoded
from clearsight.learn.golden import golden_files

HERE = Path(__file__).parent
SIDE, TRAIN, CLASSES = 224, 600, 10
PREPROCESSING = Preprocessing(height=SIDE, width=SIDE)
NETWORKS = ("resnet50", "tf_efficientnet_lite0")
AIMS = {"resnet50": 3.0, "tf_efficientnet_lite0": 1.5}
"""What int8 shall be faster by on OpenVINO at least."""


def write_pictures(folder: Path, part: str, n: int, seed: int) -> None:
    """Random crops of ten regions of photos as class folders."""
    from skimage import data

    photos = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.retina())
    random = np.random.default_rng(seed)
    regions = [half for photo in photos for half in np.array_split(photo, 2)]
    for number in range(n):
        region = regions[number % CLASSES]
        size = int(min(*region.shape[:2]) * random.uniform(0.15, 0.35))
        top, left = (int(random.integers(0, 1 + side - size)) for side in region.shape[:2])
        crop = Image.fromarray(region[top : top + size, left : left + size])
        file = folder / part / f"region-{number % CLASSES}" / f"{number:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        crop.save(file)


def network(name: str) -> tuple[Any, tuple[float, ...], tuple[float, ...]]:
    """The network with a head for ten classes, and mean and std of its input."""
    import timm
    import torch

    from clearsight.learn.backbones import build, find_weights

    torch.manual_seed(0)
    weights = find_weights(name, Silent()) if name != "resnet50" else None
    if weights is None:
        made = timm.create_model(name, num_classes=CLASSES)
        return made, (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
    return build(name, weights, CLASSES), weights.mean, weights.std


def fit(made: Any, pictures: np.ndarray, labels: np.ndarray, mean: Any, std: Any) -> Any:
    """Settle batch statistics where weights are random, then fit the head to frozen features."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    class FromPixels(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = made
            self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1))

        def normal(self, pixels: Any) -> Any:
            return (pixels - self.mean) / self.std

        def forward(self, pixels: Any) -> Any:
            return self.network(self.normal(pixels))

    whole = FromPixels()
    batches = [
        torch.from_numpy(pictures[i : i + 32]).permute(0, 3, 1, 2).float()
        for i in range(0, len(pictures), 32)
    ]
    with torch.no_grad():
        if made.default_cfg["architecture"] == "resnet50":
            for module in whole.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.reset_running_stats()
                    module.momentum = None
            whole.train()
            for batch in batches[:4]:
                whole(batch)
        whole.eval()
        features = np.concatenate(
            [
                made.forward_head(made.forward_features(whole.normal(b)), pre_logits=True).numpy()
                for b in batches
            ]
        )
        scaler = StandardScaler().fit(features)
        head = LogisticRegression(C=0.1, max_iter=500).fit(scaler.transform(features), labels)
        kernel = head.coef_ / scaler.scale_
        classifier = made.get_classifier()
        classifier.weight.copy_(torch.from_numpy(kernel))
        classifier.bias.copy_(torch.from_numpy(head.intercept_ - kernel @ scaler.mean_))
    return whole


def write_run(folder: Path, name: str, data: Path) -> Path:
    """Write a Bundle around a network."""
    from clearsight.learn.export import export_onnx

    train = read_dataset(data).part("train")
    pictures = np.stack(
        [prepare_encoded(train.encoded(i), PREPROCESSING) for i in range(len(train))]
    )
    made, mean, std = network(name)
    whole = fit(made, pictures, train.targets(), mean, std)
    model = export_onnx(whole, PREPROCESSING)
    import torch

    with torch.inference_mode():
        logits = whole(torch.from_numpy(pictures[:4]).permute(0, 3, 1, 2).float()).numpy()
    about = {
        "id": hashlib.sha256(model).hexdigest()[:32],
        "created_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "classes": train.classes,
        "family": "benchmark",
        "preprocessing": PREPROCESSING.model_dump(),
        "temperature": 1.0,
        "metrics": {},
        "data_fingerprint": "0",
        "seed": 0,
        "config": {},
        "versions": {},
    }
    files = {MODEL: model, **golden_files(pictures[:4], logits)}
    return write_bundle(folder / name, about, files, gate=lambda bundle: None).path


class Lines(Silent):
    """Tells on stderr what is done."""

    def say(self, event: str, **fields: object) -> None:
        print(f"  {event}", *(f"{key}={value}" for key, value in fields.items()), file=sys.stderr)


def measure(run: Path, data: Path, precision: Any, max_drop: float) -> list[record.Measurement]:
    """Optimise one recognizer; return what was measured of it."""
    dataset = read_dataset(data)
    found = convert.optimize(
        run,
        dataset.part("train"),
        dataset.part("val"),
        precision,
        max_drop,
        keep_slower=True,
        progress=Lines(),
    )
    measurements = []
    for item in found.measured:
        assert item.speed is not None
        name = f"{run.name}, {item.engine}"
        before, after = zip(*item.speed.rounds, strict=True)
        measurements += [
            record.Measurement.of(f"{name}: fp32", "pictures/s", list(before)),
            record.Measurement.of(f"{name}: {precision}", "pictures/s", list(after)),
            record.Measurement.of(f"{name}: speed-up", "ratio", list(item.speed.ratios)),
            record.Measurement.of(f"{name}: accuracy fp32", "share", [item.drop.before]),
            record.Measurement.of(
                f"{name}: accuracy lost, lower end, value, upper end",
                "points",
                [item.drop.low, item.drop.value, item.drop.high],
            ),
            record.Measurement.of(f"{name}: same answer", "share", [item.drop.agreement]),
        ]
    sizes = found.to_json()
    share = sizes["bytes"] / sizes["bytes_fp32"]
    return [*measurements, record.Measurement.of(f"{run.name}: file size", "ratio", [share])]


def claims(measurements: list[record.Measurement], precision: str) -> list[record.Claim]:
    """What was aimed at, and whether it was met."""
    found = {item.name: item for item in measurements}
    made = []
    for name in NETWORKS:
        faster = found.get(f"{name}, openvino: speed-up")
        lost = found.get(f"{name}, openvino: accuracy lost, lower end, value, upper end")
        if precision != "int8" or faster is None or lost is None:
            continue
        aim, drop = AIMS[name], lost.values[1]
        made += [
            record.Claim(
                text=f"{name}: int8 over fp32 on OpenVINO",
                target=aim,
                got=faster.median,
                met=faster.median >= aim,
            ),
            record.Claim(
                text=f"{name}: points of accuracy lost on OpenVINO (at most)",
                target=0.5,
                got=drop,
                met=drop <= 0.5,
            ),
        ]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", default="int8", choices=["int8", "fp16", "bf16"])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--val", type=int, default=1000)
    parser.add_argument("--max-drop", type=float, default=0.5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))
    measurements: list[record.Measurement] = []
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "pictures"
        write_pictures(data, "train", TRAIN, 0)
        write_pictures(data, "val", options.val, 1)
        for name in options.networks:
            print(f"{name}:", file=sys.stderr)
            run = write_run(Path(temporary), name, data)
            try:
                measurements += measure(run, data, options.precision, options.max_drop)
            except GateError as error:
                print(f"  {error}", file=sys.stderr)
    out = options.out or HERE / "results" / f"optimize-{options.precision}.json"
    record.Record(
        name=f"{options.precision} beside fp32, ResNet-50 and EfficientNet-Lite0 at 224",
        command=f"python benchmarks/serve/optimize.py --precision {options.precision} "
        f"--networks {' '.join(options.networks)} --val {options.val} "
        f"--max-drop {options.max_drop:g}",
        machine=record.machine(),
        versions=record.versions("clearsight", "nncf", "openvino", "onnxruntime", "onnx", "timm"),
        commit=record.commit(),
        measurements=measurements,
        claims=claims(measurements, options.precision),
    ).write(out)
    print(out.read_text())


if __name__ == "__main__":
    main()
