"""Classical features beside the loops that one writes with OpenCV, scikit-image and mahotas.

    python benchmarks/learn/classical_features.py [--pictures 1000] [--rounds 5]

Grey crops of scikit-image's photos, 28 and 96 pixels a side, in memory. In turns, round by round,
on the same windows with the same geometry:
- ours: the descriptor's ONNX graph through an engine session, as training and serving run it;
- loop: `cv2.SIFT.compute` at dense upright keypoints; `mahotas.features.surf.descriptors` at the
  same points (it finds an orientation too, which cannot be turned off); `skimage.feature.hog`.
  Each library has its own default threads.
End to end (`fit`): features of the training pictures and a linear SVM, ours beside the loop with
scikit-learn (bag of words: MiniBatchKMeans, counts by np.bincount; LinearSVC of one strength).
Target: features at >= 3 times the loop's rate.
Takes about 3 minutes on 2 idle cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import mahotas.features.surf as mahotas_surf
import numpy as np
from skimage import data
from skimage.feature import hog as skimage_hog
from sklearn.cluster import MiniBatchKMeans
from sklearn.svm import LinearSVC

sys.path.insert(0, str(Path(__file__).parents[1]))
import record

from clearsight.core.nouns import Preprocessing
from clearsight.engines.open import open_session
from clearsight.learn.descriptors.hog import Hog
from clearsight.learn.descriptors.sift import Sift
from clearsight.learn.descriptors.surf import Surf
from clearsight.learn.families.classical import Classical
from clearsight.learn.family import Budget, Job
from clearsight.learn.feature_graph import points_model
from clearsight.learn.onnx_graph import EMBEDDING

HERE = Path(__file__).parent
SIDES = (28, 96)
BORDER = 16  # mahotas leaves out points near the border: it gets a wider picture
SURF_SAMPLES, SURF_SCALE = 5, 1
STRENGTH = 0.03
WORDS = 256
Loop = Callable[[np.ndarray], np.ndarray]


def crops(n: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, side, side, 1) uint8 random crops and which photo each is from."""
    photos = [cv2.cvtColor(p(), cv2.COLOR_RGB2GRAY) for p in (data.astronaut, data.coffee)]
    photos += [cv2.cvtColor(data.chelsea(), cv2.COLOR_RGB2GRAY), data.camera()]
    random = np.random.default_rng(0)
    labels = np.arange(n) % len(photos)
    found = []
    for label in labels:
        photo = photos[label]
        large = int(random.integers(side, 200))
        top, left = (int(random.integers(0, extent - large)) for extent in photo.shape)
        crop = photo[top : top + large, left : left + large]
        found.append(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA))
    return np.stack(found)[..., None], labels.astype(np.int64)


def sift_loop(descriptor: Sift, size: Preprocessing) -> Loop:
    sift = cv2.SIFT_create()
    keypoints = [
        cv2.KeyPoint(float(column), float(row), one.part * 2 / 3, 0.0, 0, 0)
        for one in descriptor.windows(size)
        for row in one.rows
        for column in one.columns
    ]

    def run(image: np.ndarray) -> np.ndarray:
        return sift.compute(image[..., 0], keypoints)[1]

    return run


def surf_loop(descriptor: Surf, size: Preprocessing) -> Loop:
    (one,) = descriptor.windows(size)
    points = np.array([(row, column) for row in one.rows for column in one.columns]) + BORDER
    rest = np.ones((len(points), 3))
    rest[:, 0] = SURF_SCALE
    interest = np.hstack([points, rest])

    def run(image: np.ndarray) -> np.ndarray:
        wide = np.pad(image[..., 0], BORDER, mode="edge")
        return mahotas_surf.descriptors(wide, interest, descriptor_only=True)

    return run


def hog_loop(descriptor: Hog, size: Preprocessing) -> Loop:
    cell = 4 if size.height <= 48 else 8

    def run(image: np.ndarray) -> np.ndarray:
        return skimage_hog(
            image[..., 0],
            orientations=descriptor.config.orientations,
            pixels_per_cell=(cell, cell),
            cells_per_block=(2, 2),
            block_norm="L2-Hys",
        )

    return run


DESCRIPTORS: dict[str, tuple[Any, Any]] = {
    "sift": (Sift(Sift.Config()), sift_loop),
    "surf": (Surf(Surf.Config(scales=(SURF_SCALE,), samples=SURF_SAMPLES)), surf_loop),
    "hog": (Hog(Hog.Config()), hog_loop),
}


def feature_rates(key: str, side: int, pictures: int, rounds: int) -> dict[str, list[float]]:
    """Return pictures a second of ours and of the loop, and their ratio, round by round."""
    size = Preprocessing(height=side, width=side, channels=1)
    descriptor, make_loop = DESCRIPTORS[key]
    images, _ = crops(pictures, side)
    session, loop = open_session(points_model(descriptor, size)), make_loop(descriptor, size)
    few = images[: max(20, pictures // 10)]
    ours = session.run(images, (EMBEDDING,))[EMBEDDING]  # compiles
    theirs = np.stack([loop(image) for image in few[:3]])
    assert ours[0].size == theirs[0].size, "both compute as many numbers a picture"
    found: dict[str, list[float]] = {"ours": [], "loop": [], "ratio": []}
    for _ in range(rounds):
        began = time.perf_counter()
        session.run(images, (EMBEDDING,))
        ours_s = (time.perf_counter() - began) / len(images)
        began = time.perf_counter()
        for image in few:
            loop(image)
        loop_s = (time.perf_counter() - began) / len(few)
        found["ours"].append(1 / ours_s)
        found["loop"].append(1 / loop_s)
        found["ratio"].append(loop_s / ours_s)
    print(key, side, {name: round(float(np.median(v)), 2) for name, v in found.items()}, flush=True)
    return found


def ours_fit(key: str, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the seconds of `Classical.fit` with one strength."""
    options = {"linear-svm": {"strengths": [STRENGTH]}}
    size = Preprocessing(height=images.shape[1], width=images.shape[2], channels=1)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            train_images=images,
            train_labels=labels,
            val_images=images[:40],
            val_labels=labels[:40],
            classes=tuple("abcd"),
            preprocessing=size,
            seed=0,
            budget=Budget(epochs=1),
            work=Path(folder),
            open_model=open_session,
        )
        began = time.perf_counter()
        Classical(Classical.Config(features=(key,), options=options)).fit(job)
        return time.perf_counter() - began


def loop_fit(key: str, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the seconds of the loop, a bag of words for SIFT, and scikit-learn's LinearSVC."""
    size = Preprocessing(height=images.shape[1], width=images.shape[2], channels=1)
    descriptor, make_loop = DESCRIPTORS[key]
    loop = make_loop(descriptor, size)
    began = time.perf_counter()
    features = [loop(image) for image in images]
    if key == "sift":
        sample = np.concatenate(features[:: max(1, len(features) // 200)])
        words = MiniBatchKMeans(WORDS, random_state=0, n_init=1).fit(sample)
        features = [np.bincount(words.predict(one), minlength=WORDS) for one in features]
    rows = np.stack(features).astype(np.float32)
    rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    LinearSVC(C=1 / (STRENGTH * len(rows))).fit(rows, labels)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    machine = record.machine()
    measurements, claims = [], []
    for key in DESCRIPTORS:
        for side in SIDES:
            found = feature_rates(key, side, options.pictures, options.rounds)
            for name, values in found.items():
                unit = "ratio" if name == "ratio" else "images/s"
                title = f"{key}, {side} pixels, {name}"
                measurements.append(record.Measurement.of(title, unit, values))
            got = measurements[-1].median
            text = f"{key} features of {side}-pixel pictures at >= 3 times the plain loop's rate"
            claims.append(record.Claim(text=text, target=3.0, got=got, met=got >= 3.0))
    images, labels = crops(options.pictures, SIDES[0])
    for key in ("hog", "sift"):
        ratios = []
        for _ in range(max(1, options.rounds // 2)):
            ours_s = ours_fit(key, images, labels)
            ratios.append(loop_fit(key, images, labels) / ours_s)
        measurements.append(
            record.Measurement.of(f"{key}+linear-svm, fit, loop / ours", "ratio", ratios)
        )
        print(key, "fit", ratios, flush=True)
    record.Record(
        name="classical-features",
        command=f"python benchmarks/learn/classical_features.py --pictures {options.pictures} "
        f"--rounds {options.rounds}",
        machine=machine,
        versions=record.versions(
            "openvino", "opencv-python-headless", "scikit-image", "mahotas", "scikit-learn", "numpy"
        ),
        commit=record.commit(),
        measurements=measurements,
        claims=claims,
    ).write(HERE / "results" / "classical_features.json")


if __name__ == "__main__":
    main()
