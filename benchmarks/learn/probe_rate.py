"""How close `probe` comes to the engine's own rate, from JPEG files to a fitted head.

    python benchmarks/learn/probe_rate.py [--pictures 2000] [--rounds 3]

Pictures are 500x375 JPEG crops of scikit-image's photos (the photo is the class; accuracy is not
the point here). In one process, in turns:
- engine only: the backbone runs over prepared pictures in memory and nothing else happens;
- features: JPEG files are decoded into the pixel cache, then their features are extracted;
- training: the same and everything else that `fit` does (weights, export, check, head).
Targets: features at >= 0.85 of the engine-only rate; training at <= 1.3 passes of features.
Takes about 2 minutes on 2 idle cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

sys.path.insert(0, str(Path(__file__).parents[1]))
import record

from clearsight.core.nouns import Preprocessing
from clearsight.core.progress import Silent
from clearsight.data.cache import build_cache
from clearsight.data.dataset import Dataset, read_dataset
from clearsight.data.split import split
from clearsight.engines.open import open_session
from clearsight.learn.families.probe import Probe
from clearsight.learn.family import Budget, Job
from clearsight.learn.features import extract

HERE = Path(__file__).parent
SEED = 0


def write_photos(folder: Path, n: int) -> None:
    """Write n random 500x375 crops as JPEG, in class folders."""
    photos = {"coffee": data.coffee(), "cat": data.chelsea(), "astronaut": data.astronaut()}
    random = np.random.default_rng(SEED)
    for number in range(n):
        name = sorted(photos)[number % len(photos)]
        image = Image.fromarray(photos[name])
        width, height = (int(side * random.uniform(0.5, 1)) for side in image.size)
        left = int(random.integers(0, 1 + image.width - width))
        top = int(random.integers(0, 1 + image.height - height))
        crop = image.crop((left, top, left + width, top + height)).resize((500, 375))
        (folder / name).mkdir(parents=True, exist_ok=True)
        crop.save(folder / name / f"{number:05d}.jpg", quality=90)


def measure(dataset: Dataset, side: int, work: Path) -> dict[str, float]:
    """Run the three once and return their seconds a picture."""
    family, size = Probe(Probe.Config(side=side)), Preprocessing(height=side, width=side)
    began = time.perf_counter()
    train, val = (
        build_cache(dataset.part(part), size, work / part, Silent()) for part in ("train", "val")
    )
    decoded_s = time.perf_counter() - began
    n = len(train.labels) + len(val.labels)
    job = Job(
        train_images=train.images,
        train_labels=train.labels,
        val_images=val.images,
        val_labels=val.labels,
        classes=dataset.classes,
        preprocessing=size,
        seed=SEED,
        budget=Budget(epochs=1),
        work=work / "fit",
        open_model=open_session,
    )
    began = time.perf_counter()
    fitted = family.fit(job)
    fit_s = time.perf_counter() - began
    again = work / "features"
    began = time.perf_counter()
    for name, images in (("train", train.images), ("val", val.images)):
        rows = np.arange(len(images))
        extract(fitted.runner, fitted.model, images, rows, again, name, Silent())
    features_s = decoded_s + time.perf_counter() - began
    memory = np.array(train.images)
    began = time.perf_counter()
    fitted.runner.run(memory, ("embedding",))
    engine_s = (time.perf_counter() - began) / len(memory) * n
    return {
        "engine only": n / engine_s,
        "decode and prepare": n / decoded_s,
        "features, decoding included": n / features_s,
        "features / engine only": engine_s / features_s,
        "training / one pass of features": (decoded_s + fit_s) / features_s,
        "weights, export and check": fitted.story["prepare_s"],
    }


UNITS = {"engine only": "images/s", "decode and prepare": "images/s"} | {
    "features, decoding included": "images/s",
    "weights, export and check": "s",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=260)
    options = parser.parse_args()
    machine = record.machine()
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder) / "photos", options.pictures)
        dataset = split(read_dataset(Path(folder) / "photos"), SEED, (0.9, 0.1, 0.0))
        rounds = []
        for number in range(options.rounds):
            rounds.append(measure(dataset, options.side, Path(folder) / f"work{number}"))
            print(rounds[-1], flush=True)
    found = [
        record.Measurement.of(name, UNITS.get(name, "ratio"), [one[name] for one in rounds])
        for name in rounds[0]
    ]
    by_name = {one.name: one.median for one in found}
    near, passes = by_name["features / engine only"], by_name["training / one pass of features"]
    record.Record(
        name="probe-rate",
        command=f"python benchmarks/learn/probe_rate.py --pictures {options.pictures} "
        f"--rounds {options.rounds} --side {options.side}",
        machine=machine,
        versions=record.versions("torch", "timm", "openvino", "onnxruntime", "numpy"),
        commit=record.commit(),
        measurements=found,
        claims=[
            record.Claim(
                text="features, decoding included, at >= 0.85 of the engine-only rate",
                target=0.85,
                got=near,
                met=near >= 0.85,
            ),
            record.Claim(
                text="whole training at <= 1.3 passes of features",
                target=1.3,
                got=passes,
                met=passes <= 1.3,
            ),
        ],
    ).write(HERE / "probe_rate.json")


if __name__ == "__main__":
    main()
