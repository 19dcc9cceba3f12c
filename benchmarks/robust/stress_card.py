"""How long the full robustness card takes: EfficientNet-Lite0, 1,000 pictures, two cores.

    python benchmarks/robust/stress_card.py [--pictures 1000] [--attack-limit 100] [--out FILE]

Pictures are crops of scikit-image's photos (the photo is the class; accuracy is not the point
here). A `probe` on Lite0 is trained on others of them, and `clearsight stress` measures all suites:
20 corruptions and 7 deformations of 5 severities, five attacks with their check for hidden
gradients, and the card. Beside the whole, the time of each corruption alone is measured.
Target: at most 10 minutes. Takes about 15 minutes on 2 idle cores.
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

from clearsight import api
from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.corruptions import CORRUPTIONS
from clearsight.robust.deformations import DEFORMATIONS

HERE = Path(__file__).parent
PHOTOS = ("astronaut", "coffee", "chelsea", "rocket", "retina", "immunohistochemistry")
SIDE = 256
TARGET_S = 600.0


def main() -> None:
    options = parsed()
    about = record.machine()
    measurements = []
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        write_photos(photos, options.pictures)
        run = Path(folder) / "run"
        api.train(photos, out=run, model="probe", epochs=None, time="5m", settings=options.set)
        began = time.monotonic()
        found = api.stress(run, limit=options.pictures, attack_limit=options.attack_limit)
        seconds = time.monotonic() - began
        side = api.load(run).manifest.preprocessing.height
    measurements.append(record.Measurement.of("full card", "s", [seconds]))
    measurements.append(record.Measurement.of("pictures", "1", [float(found.n)]))
    for registry in (CORRUPTIONS, DEFORMATIONS):
        for key in registry.keys():  # noqa: SIM118
            times = one_by_one(registry.load(key), crops(20, side, seed=1))
            measurements.append(record.Measurement.of(f"{key}, a picture", "ms", times))
    record.Record(
        name="robust/stress_card",
        command=f"python benchmarks/robust/stress_card.py {' '.join(sys.argv[1:])}".strip(),
        machine=about,
        versions=record.versions("clearsight", "numpy", "opencv-python-headless", "openvino"),
        commit=record.commit(),
        measurements=measurements,
        claims=[
            record.Claim(
                text="full card on 1,000 pictures and Lite0, seconds at most",
                target=TARGET_S,
                got=round(seconds, 1),
                met=seconds <= TARGET_S and found.n >= 1000,
            )
        ],
    ).write(options.out)
    print(f"{found.n} pictures in {seconds:.0f} s; clean {found.clean.accuracy:.3f}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--attack-limit", type=int, default=100)
    parser.add_argument("--set", nargs="*", default=["family.backbone=tf_efficientnet_lite0"])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "stress_card.json")
    return parser.parse_args()


def one_by_one(distortion, images: ImagesNHWC) -> list[float]:
    """Return milliseconds a picture at each severity, on one thread of ours."""
    times = []
    for severity in range(1, 6):
        distortion(images[:1], severity, 0)
        began = time.monotonic()
        distortion(images, severity, 0)
        times.append(1000 * (time.monotonic() - began) / len(images))
    return times


def crops(count: int, side: int, seed: int, photo: str = PHOTOS[0]) -> ImagesNHWC:
    """Return uint8 (count, side, side, 3) crops of a photo."""
    source = np.asarray(getattr(data, photo)())[..., :3]
    random = np.random.default_rng(seed)
    found = np.empty((count, side, side, 3), np.uint8)
    for index in range(count):
        size = int(random.integers(side // 2, min(source.shape[:2])))
        top, left = (int(random.integers(0, length - size + 1)) for length in source.shape[:2])
        picture = Image.fromarray(source[top : top + size, left : left + size])
        found[index] = picture.resize((side, side))
    return found


def write_photos(folder: Path, test_pictures: int) -> None:
    """Write FOLDER/{train,val,test}/PHOTO/NUMBER.jpg."""
    each = {"train": 40, "val": 20, "test": -(-test_pictures // len(PHOTOS))}
    for number, photo in enumerate(PHOTOS):
        for seed, (part, count) in enumerate(each.items()):
            place = folder / part / photo
            place.mkdir(parents=True)
            for index, picture in enumerate(crops(count, SIDE, 10 * number + seed, photo)):
                Image.fromarray(picture).save(place / f"{index}.jpg", quality=90)


if __name__ == "__main__":
    main()
