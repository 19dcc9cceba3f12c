"""Whether our corruptions distort as much as the published programs, at 224 pixels.

    uv venv ENV --python 3.11 && uv pip install --python ENV "numpy==1.23.5" "scipy==1.10.1" \
        "scikit-image==0.20.0" "opencv-python-headless==4.7.0.72" "setuptools<81" imagecorruptions
    python benchmarks/robust/published_corruptions.py --python ENV/bin/python [--pictures 60]

The same crops of photos go through clearsight and `imagecorruptions`, the published programs
made to run without ImageMagick; the mean absolute distortion of each kind and severity is compared.
Random kinds are drawn anew on each side, so a difference counts beyond twice its standard error,
taken over pictures. Target: within 2 %. Takes about 20 minutes.
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
        for severity, wanted in enumerate(by_severity, start=1):
            changed = kind(images, severity, severity).astype(int)
            more = np.abs(changed - images).mean(axis=(1, 2, 3)) - wanted
            ratios.append(float(more.mean() / np.mean(wanted)))
            luck = 2 * float(more.std() / len(more) ** 0.5 / np.mean(wanted))
            allowed = 0.0 if name in DETERMINISTIC else luck
            beyond[name, severity] = max(0.0, abs(ratios[-1]) - allowed)
        measurements.append(record.Measurement.of(f"{name}, ours / published - 1", "1", ratios))
        print(name, " ".join(f"{ratio:+.3f}" for ratio in ratios), flush=True)
    worst = max(beyond.values())
    record.Record(
        name="robust/published_corruptions",
        command=f"python benchmarks/robust/published_corruptions.py --pictures {len(images)}",
        machine=about,
        versions=record.versions("clearsight", "numpy", "opencv-python-headless", "pillow"),
        commit=record.commit(),
        measurements=measurements,
        claims=[
            record.Claim(
                text="largest difference of mean distortion from the published",
                target=TARGET,
                got=round(worst, 4),
                met=worst <= TARGET,
            )
        ],
    ).write(options.out)
    print(f"largest difference beyond luck: {worst:.4f}")


DETERMINISTIC = {
    "brightness", "contrast", "defocus_blur", "gaussian_blur", "jpeg_compression", "pixelate",
    "saturate", "zoom_blur",
}  # fmt: skip


def published(python: Path, images: np.ndarray) -> dict[str, list[list[float]]]:
    """Return the distortion of every picture by kind and severity."""
    with tempfile.TemporaryDirectory() as folder:
        pictures, result = Path(folder) / "pictures.npy", Path(folder) / "result.json"
        np.save(pictures, images, allow_pickle=False)
        program = HERE / "peers" / "published_distortion.py"
        subprocess.run([python, program, pictures, result], check=True)
        found: dict[str, list[list[float]]] = json.loads(result.read_text())
        return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "published_corruptions.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
