"""How the flow tests call the command line, and real pictures for them."""

import hashlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one JSON object on stdout."""
        return json.loads(self.out)


def checked(outcome, arguments):
    """No trace, only the documented exit codes, one JSON object with --json, errors on stderr."""
    assert "Traceback" not in outcome.err + outcome.out, outcome.err
    assert "internal error" not in outcome.err, outcome.err
    assert outcome.code in (0, 1, 2, 3), outcome
    if "--json" in arguments:
        assert isinstance(outcome.json, dict), outcome
    if outcome.code:
        assert outcome.err.strip(), "a failure must say why on stderr"
    return outcome


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


def command(*arguments):
    """Run the command line in a process of its own."""
    arguments = [str(item) for item in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "clearsight", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment(),
        timeout=280,
        check=False,
    )
    return checked(Outcome(done.returncode, done.stdout, done.stderr), arguments)


def tree(folder):
    """Return name, mode and content hash of everything below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(Path(folder).rglob("*"))
    }


def encode(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def digit_images():
    """Return scikit-learn's scanned digits as (picture, label): 32 x 32 grey."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for pixels, label in zip(digits.images, digits.target, strict=True):
        grey = Image.fromarray((pixels * 255 / 16).astype(np.uint8))
        yield grey.resize((32, 32), Image.Resampling.BICUBIC), int(label)


def write_digits(folder, names, per_class):
    """Write digits as PNG and JPEG in turn; `names` are the class names of 0, 1, 2, ..."""
    counts = dict.fromkeys(range(len(names)), 0)
    for image, label in digit_images():
        if label in counts and counts[label] < per_class:
            kind = ("PNG", "JPEG")[counts[label] % 2]
            file = folder / names[label] / f"{counts[label]:03d}.{kind.lower()}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode(image.convert("RGB") if kind == "JPEG" else image, kind))
            counts[label] += 1
    return folder
