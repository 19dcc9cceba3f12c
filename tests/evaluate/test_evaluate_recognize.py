"""Many files in, one row each out, whatever they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearsight.core.errors import UsageError
from clearsight.core.nouns import ImageHWC, ImagesNHWC, Prediction, Preprocessing, Scores
from clearsight.data.preprocess import prepare_encoded
from clearsight.evaluate.prepared import BATCH_IMAGES
from clearsight.evaluate.recognize import find_pictures, recognize_files


class Brightness:
    """Says "light" or "dark"; a predictor whose answers are known."""

    classes = ("dark", "light")
    task = "single-label"
    preprocessing = Preprocessing(height=4, width=4, channels=1)

    def prepare(self, encoded: bytes) -> ImageHWC:
        return prepare_encoded(encoded, self.preprocessing)

    def logits(self, images_nhwc: ImagesNHWC) -> Scores:
        return np.log(self.probabilities(images_nhwc))

    def probabilities(self, images_nhwc: ImagesNHWC) -> Scores:
        light = (images_nhwc.mean(axis=(1, 2, 3)) + 1) / 257
        return np.stack([1 - light, light], axis=1).astype(np.float32)

    def prediction(self, probabilities: Scores, top: int = 5) -> Prediction:
        order = np.argsort(-probabilities)[:top]
        return Prediction(
            tuple(self.classes[i] for i in order), tuple(float(probabilities[i]) for i in order)
        )

    def recognize(self, encoded: bytes, top: int = 5) -> Prediction:
        return self.prediction(self.probabilities(self.prepare(encoded)[None])[0], top)


def picture(path: Path, level: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (9, 7), level).save(path)
    return path


def test_every_file_gets_its_own_answer_in_order(tmp_path: Path) -> None:
    levels = [(37 * i) % 256 for i in range(2 * BATCH_IMAGES + 5)]
    files = [picture(tmp_path / f"{i:03d}.png", level) for i, level in enumerate(levels)]
    rows = list(recognize_files(Brightness(), files))
    assert [row.path for row in rows] == [str(file) for file in files]
    for row, level in zip(rows, levels, strict=True):
        scores = row.to_json()["scores"]
        assert scores["light"] == pytest.approx((level + 1) / 257, abs=1e-6)
        assert row.error is None


def test_damaged_files_are_rows_with_an_error_and_spoil_no_neighbour(tmp_path: Path) -> None:
    good = picture(tmp_path / "good.png", 255)
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:40])
    (tmp_path / "text.png").write_text("no picture")
    rows = {
        Path(row.path).name: row
        for row in recognize_files(Brightness(), sorted(tmp_path.iterdir()))
    }
    assert rows["good.png"].to_json()["label"] == "light"
    for name in ("empty.png", "cut.png", "text.png"):
        values = rows[name].to_json()
        assert values["error"]
        assert values["label"] is None
        assert values["scores"] is None


def test_a_file_that_vanishes_is_a_row_with_an_error(tmp_path: Path) -> None:
    (row,) = recognize_files(Brightness(), [tmp_path / "gone.png"])
    assert "cannot be read" in (row.error or "")


def test_top_limits_the_scores(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png", 200)
    (row,) = recognize_files(Brightness(), [file], top=1)
    assert list(row.to_json()["scores"]) == ["light"]


def test_folders_are_searched_and_hidden_files_are_not(tmp_path: Path) -> None:
    wanted = [picture(tmp_path / "b" / "二.PNG", 1), picture(tmp_path / "a.png", 1)]
    picture(tmp_path / ".cache" / "x.png", 1)
    picture(tmp_path / ".x.png", 1)
    (tmp_path / "notes.txt").write_text("x")
    assert find_pictures([tmp_path]) == sorted(wanted)


def test_nothing_to_recognize_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No picture"):
        find_pictures([tmp_path])
    with pytest.raises(UsageError, match="does not exist"):
        find_pictures([tmp_path / "missing"])
