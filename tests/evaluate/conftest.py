"""A recognizer that reads its answer from the picture's colour, and pictures made for it."""

import io

import numpy as np
import pytest
from PIL import Image

from clearsight.core.errors import ImageError
from clearsight.core.nouns import Preprocessing
from clearsight.data.dataset import read_dataset
from clearsight.data.preprocess import prepare_encoded


class ColourPredictor:
    """Red is the class it answers (times 10), green the certainty in percent."""

    task = "single-label"

    def __init__(self, classes, refuse=()):
        self.classes = tuple(classes)
        self.preprocessing = Preprocessing(height=4, width=4)
        self.refuse = refuse
        self.batches = []

    def prepare(self, encoded):
        image = prepare_encoded(encoded, self.preprocessing)
        if int(image[0, 0, 2]) in self.refuse:
            raise ImageError("undecodable", "Planted.")
        return image

    def probabilities(self, images_nhwc):
        self.batches.append(len(images_nhwc))
        column = np.round(images_nhwc[:, 0, 0, 0] / 10).astype(int)
        certainty = images_nhwc[:, 0, 0, 1] / 100
        others = (1 - certainty) / (len(self.classes) - 1)
        rows = np.repeat(others[:, None], len(self.classes), axis=1)
        rows[np.arange(len(rows)), column] = certainty
        return rows.astype(np.float32)

    def logits(self, images_nhwc):
        return np.log(self.probabilities(images_nhwc))

    def recognize(self, encoded, top=5):
        raise NotImplementedError


def picture(answer, certainty, blue=0, size=4):
    stream = io.BytesIO()
    Image.new("RGB", (size, size), (answer * 10, certainty, blue)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def colour_predictor():
    return ColourPredictor


@pytest.fixture
def make_data(tmp_path):
    """Write {class name: [picture bytes]} as class folders and read them."""

    def write(classes):
        for name, pictures in classes.items():
            folder = tmp_path / "photos" / name
            folder.mkdir(parents=True)
            for number, content in enumerate(pictures):
                (folder / f"{number:04d}.png").write_bytes(content)
        return read_dataset(tmp_path / "photos")

    return write


@pytest.fixture
def make_picture():
    return picture
