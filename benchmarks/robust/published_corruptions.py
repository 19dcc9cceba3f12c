"""Whether our corruptions distort as much as the published programs, at 224 pixels.

    uv venv ENV --python 3.11 && uv pip install --python ENV "numpy==1.23.5" "scipy==1.10.1" \
        "scikit-image==0.20.0" "opencv-python-headless==4.7.0.72" "setuptools<81" imagecorruptions
    python benchmarks/robust/published_corruptions.py --python ENV/bin/python [--pictures 60]

The same crops of photos go through clearsight and `imagecorruptions`, the published programs
made to run without ImageMagick; the mean absolute distortion of each kind and severity is compared.
Random kinds are drawn anew on each side, so a difference counts beyond twice its standard error.
Frost is left out of the claim: ours is drawn. Target: within 2 %. Takes about 20 minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import record
from stress_card import PHOTOS, crops

from clearsight.robust.corruptions import CORRUPTIONS

HERE = Path(__file__).parent
TARGET = 0.02
APART = {"frost"}


def main() -> None:
    options = parsed()
    about = record.machine()
    each = -(-options.pictures // len(PHOTOS))
    images = np.concatenate([crops(each, 224, n, photo) for n, photo in enumerate(PHOTOS)])
    theirs = published(options.python, images)
    measurements, beyond = [], {}
    for name, by_severity in sorted(theirs.items()):
        kind = CORRUPTIONS.load(name.replace("_", "-"))
        ratios = []
        for severity, (wanted, error) in enumerate(by_severity, start=1):
            changed = kind(images, severity, severity).astype(int)
            apart = np.abs(changed - images).mean(axis=(1, 2, 3))
            luck = 2 * float(np.hypot(error, apart.std() / len(apart) ** 0.5)) / wanted
            ratio = float(apart.mean()) / wanted - 1
            ratios.append(ratio)
            deterministic = name in DETERMINISTIC
            beyond[name, severity] = max(0.0, abs(ratio) - (0.0 if deterministic else luck))
        measurements.append(record.Measurement.of(f"{name}, ours / published - 1", "1", ratios))
        print(name, " ".join(f"{ratio:+.3f}" for ratio in ratios), flush=True)
    worst = max(value for (name, _), value in beyond.items() if name not in APART)
    record.Record(
        name="robust/published_corruptions",
        command=f"python benchmarks/robust/published_corruptions.py --pictures {len(images)}",
        machine=about,
        versions=record.versions("clearsight", "numpy", "opencv-python-headless", "pillow"),
        commit=record.commit(),
        measurements=measurements,
        claims=[
            record.Claim(
                text="largest difference of mean distortion from the published (without frost)",
                target=TARGET,
                got=round(worst, 4),
                met=worst <= TARGET,
            )
        ],
    ).write(options.out)
    print(f"largest difference beyond luck, without frost: {worst:.4f}")


DETERMINISTIC = {
    "brightness", "contrast", "defocus_blur", "gaussian_blur", "jpeg_compression", "pixelate",
    "saturate", "zoom_blur",
}  # fmt: skip


def published(python: Path, images: np.ndarray) -> dict[str, list[tuple[float, float]]]:
    """Return mean distortion and its standard error by kind and severity."""
    with tempfile.TemporaryDirectory() as folder:
        pictures, result = Path(folder) / "pictures.npy", Path(folder) / "result.json"
        np.save(pictures, images, allow_pickle=False)
        program = HERE / "peers" / "published_distortion.py"
        subprocess.run([python, program, pictures, result], check=True)
        found: dict[str, list[tuple[float, float]]] = json.loads(result.read_text())
        return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "published_corruptions.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
