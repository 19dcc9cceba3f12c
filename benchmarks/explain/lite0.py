"""Explanations on EfficientNet-Lite0: time, planted evidence, random weights.

python benchmarks/explain/lite0.py [--out benchmarks/explain/results/lite0.json]

Trains a probe on Lite0 with planted-evidence pictures (a smooth background, one patch with the
class's pattern), then explains new ones. Costs about 5 minutes on 2 cores. Expected: CAM <= 60 ms
and RISE with its proof <= 2 s a picture; the strongest evidence inside the patch in 100 %; maps of
a network with random weights told from true ones in 100 %.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import Claim, Measurement, Record, commit, machine, versions

import clearsight
from clearsight.engines.open import open_predictor
from clearsight.explain.explain import ask, explain, make_explainer
from clearsight.explain.faithfulness import faithfulness
from clearsight.explain.question import Question
from clearsight.explain.subject import subject_of
from clearsight.explain.weights_check import check_weights

SIDE, PATCH, CLASSES = 224, 72, ("checks", "dots", "rows", "columns")
TRAINING, TESTED, RANDOM_TESTED = 60, 40, 20


def pattern(name: str) -> np.ndarray:
    y, x = np.mgrid[:PATCH, :PATCH]
    on = {
        "checks": (y // 9 + x // 9) % 2 == 0,
        "dots": (y % 18 - 9) ** 2 + (x % 18 - 9) ** 2 < 30,
        "rows": y // 6 % 2 == 0,
        "columns": x // 6 % 2 == 0,
    }[name]
    return np.where(on[..., None], 235, 20).astype(np.uint8).repeat(3, axis=2)


def picture(label: str, random: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
    coarse = random.integers(40, 216, (5, 5, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    y, x = (int(value) for value in random.integers(0, SIDE - PATCH, 2))
    image[y : y + PATCH, x : x + PATCH] = pattern(label)
    return image, (y, x)


def train(folder: Path) -> Path:
    random = np.random.default_rng(0)
    for label in CLASSES:
        (folder / "data" / label).mkdir(parents=True)
        for number in range(TRAINING):
            cv2.imwrite(str(folder / "data" / label / f"{number}.png"), picture(label, random)[0])
    settings = ["family.backbone=tf_efficientnet_lite0"]
    run = folder / "run"
    clearsight.train(folder / "data", out=run, time="3m", model="probe", settings=settings)
    return run


def timed(call, times: int) -> list[float]:
    call()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("benchmarks/explain/results/lite0.json"))
    parser.add_argument("--run", type=Path, help="a run trained by an earlier call")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = arguments.run or train(Path(folder))
        record = measure(run)
    record.write(arguments.out)
    for claim in record.claims:
        print(f"{'met ' if claim.met else 'LOST'} {claim.text}: {claim.got:g}")


def measure(run: Path) -> Record:
    predictor = open_predictor(run)
    subject = subject_of(predictor)
    random = np.random.default_rng(1)
    drawn = [picture(CLASSES[at % 4], random) for at in range(TESTED)]
    images = np.stack([image for image, _ in drawn])
    bgr = images[..., ::-1]  # the files were written by cv2
    images = np.ascontiguousarray(bgr)
    numbers = np.array([list(predictor.classes).index(CLASSES[at % 4]) for at in range(TESTED)])
    right = float((predictor.probabilities(images).argmax(axis=1) == numbers).mean())
    measurements = [Measurement.of("accuracy on planted pictures", "share", [right])]
    claims = []
    cam, rise = make_explainer("cam"), make_explainer("rise")
    one, question = images[:1], Question(numbers[:1])

    cam_ms = [1e3 * value for value in timed(lambda: cam.maps(subject, one, question), 20)]
    measurements.append(Measurement.of("CAM, one map", "ms", cam_ms))
    for method, explainer in (("cam", cam), ("rise", rise)):

        def proved(method=method, explainer=explainer):
            return list(explain(subject, predictor.probabilities, one, question, method, explainer))

        seconds = timed(proved, 5)
        measurements.append(Measurement.of(f"{method} with its proof", "s", seconds))
        if method == "rise":
            got = statistics.median(seconds)
            claims.append(Claim(text="RISE with proof, s <=", target=2.0, got=got, met=got <= 2))
    got = statistics.median(cam_ms)
    claims.append(Claim(text="CAM, ms <=", target=60.0, got=got, met=got <= 60))
    claims += [planted(subject, predictor, images, numbers, drawn, key) for key in KEYS]
    claims.append(random_weights(subject, predictor, images))
    claims.append(checks(subject, images, numbers))
    return Record(
        name="explanations on EfficientNet-Lite0",
        command="python benchmarks/explain/lite0.py",
        machine=machine(),
        versions=versions("clearsight", "numpy", "torch", "openvino", "onnxruntime"),
        commit=commit(),
        measurements=measurements,
        claims=claims,
    )


KEYS = ("cam", "grad-cam", "layer-cam", "occlusion", "rise")


def planted(subject, predictor, images, numbers, drawn, key) -> Claim:
    found = explain(
        subject, predictor.probabilities, images, Question(numbers), key, make_explainer(key)
    )
    inside = [
        all(0 <= at - start < PATCH for at, start in zip(one.peak, place, strict=True))
        for one, (_, place) in zip(found, drawn, strict=True)
    ]
    got = float(np.mean(inside))
    return Claim(text=f"{key}: strongest evidence in the patch", target=1.0, got=got, met=got == 1)


def random_weights(subject, predictor, images) -> Claim:
    """Maps of the network with random weights, scored on the true one, must not pass."""
    other, flagged = subject.randomized(1), []
    explainer = make_explainer("grad-cam")
    names = list(predictor.classes)
    for image in images[:RANDOM_TESTED]:
        question = ask(names.index, predictor.probabilities(image[None]))
        map_hw = explainer.maps(other, image[None], question)[0]
        proof = faithfulness(predictor.probabilities, image, question, map_hw)
        flagged.append(not proof.faithful)
    got = float(np.mean(flagged))
    return Claim(text="maps of random weights flagged", target=1.0, got=got, met=got == 1)


def checks(subject, images, numbers) -> Claim:
    """The check with random weights passes for methods that look at the network."""
    passed = [
        check_weights(make_explainer(key), subject, images, Question(numbers), seed).passed
        for key in ("cam", "grad-cam", "layer-cam", "integrated-gradients")
        for seed in range(3)
    ]
    got = float(np.mean(passed))
    return Claim(text="random weights change the map", target=1.0, got=got, met=got == 1)


if __name__ == "__main__":
    main()
