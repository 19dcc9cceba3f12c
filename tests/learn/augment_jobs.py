"""Jobs whose pictures are made so that it is known which changes keep their labels."""

from dataclasses import dataclass, field

import numpy as np

from clearsight.core.nouns import Preprocessing
from clearsight.learn.family import Budget, Job

SIDE = 24


@dataclass
class Listening:
    """Progress that remembers what it was told."""

    said: list = field(default_factory=list)

    def say(self, text, **details):
        self.said.append(text)


def job_of(kind, work, n=400):
    """Return a job with pictures of one kind.

    Args:
        kind: "arrows" (left or right), "discs" (disc, ring, dot), "tinted discs" (any colour),
            "tints" (red, green or blue stains), "grey", "grey in colour".
        work: the folder.
        n: training pictures.
    """
    random = np.random.default_rng(0)
    classes = {"arrows": ("left", "right"), "tints": ("red", "green", "blue")}
    names = classes.get(kind, ("disc", "ring", "dot"))
    labels = np.arange(n) % len(names)
    shapes = np.stack([SHAPES.get(kind, disc)(label, random) for label in labels])
    pixels = 40 + 160 * shapes + random.normal(0, 8, shapes.shape)
    if kind in ("arrows", "discs", "grey"):
        images = pixels[..., None]
    elif kind == "grey in colour":
        images = np.repeat(pixels[..., None], 3, axis=3)
    elif kind == "tints":
        images = pixels[..., None] * (0.3 + 0.7 * np.eye(3)[labels])[:, None, None]
    else:
        images = pixels[..., None] * random.uniform(0.6, 1, (n, 1, 1, 3))
    images = np.clip(images, 0, 255).astype(np.uint8)
    return Job(
        train_images=images,
        train_labels=labels.astype(np.int64),
        val_images=images[:20],
        val_labels=labels[:20].astype(np.int64),
        classes=names,
        preprocessing=Preprocessing(height=SIDE, width=SIDE, channels=images.shape[3]),
        seed=0,
        budget=Budget(epochs=1),
        work=work,
        open_model=None,
        progress=Listening(),
    )


def disc(label, random):
    """Return a disc, a ring or a dot in the middle, between 0 and 1."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    distance = np.hypot(y, x) + random.normal(0, 0.3)
    return [distance < 9, (distance > 7) & (distance < 10), distance < 4][label].astype(float)


def arrow(label, random):
    """Return an arrow that points to the left (0) or to the right (1)."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2 + random.normal(0, 0.7, (2, 1, 1))
    head = (np.abs(y) < 8 - x) & (x > -1)
    shaft = (np.abs(y) < 2.5) & (np.abs(x) < 9)
    picture = (head | shaft).astype(float)
    return picture if label else picture[:, ::-1]


def stain(label, random):
    """Return a stain of random shape."""
    coarse = random.uniform(0, 1, (4, 4))
    return np.kron(coarse, np.ones((SIDE // 4, SIDE // 4)))


SHAPES = {"arrows": arrow, "tints": stain}
