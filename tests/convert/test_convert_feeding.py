"""What a model is fed with: read strictly, worked out exactly, nothing guessed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clearsight.convert.class_names import read_class_names
from clearsight.convert.feeding import Feeding, check_agrees, read_feeding
from clearsight.core.errors import ConfigError, UsageError

PIXELS = np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 3)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (["range=0-255"], [0, 51, 255]),
        (["range=0-1"], [0, 0.2, 1]),
        (["range=-1-1"], [-1, -0.6, 1]),
        (["range=0-1", "mean=0.5", "std=0.25"], [-2, -1.2, 2]),
        (["range=0-1", "mean=0,0.1,0.5", "std=[1, 0.1, 0.5]"], [0, 1, 1]),
        (["range=0-255", "channels=BGR"], [255, 51, 0]),
        (["range=0-255", "channels=BGR", "mean=5,1,0"], [250, 50, 0]),
    ],
)
def test_pixels_become_what_was_said(said: list[str], wanted: list[float]) -> None:
    feeding = read_feeding(said)
    np.testing.assert_allclose(feeding.feed(PIXELS).reshape(-1), wanted, atol=1e-5)
    factor, summand = feeding.scale
    ordered = PIXELS[..., ::-1] if feeding.channels == "BGR" else PIXELS
    np.testing.assert_allclose((ordered * factor + summand).reshape(-1), wanted, atol=1e-4)


def test_layout_moves_the_channels() -> None:
    images = np.zeros((2, 4, 5, 3), np.uint8)
    assert Feeding(range="0-1", layout="NCHW").feed(images).shape == (2, 3, 4, 5)
    assert Feeding(range="0-1", layout="NHWC").feed(images).shape == (2, 4, 5, 3)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [("size=28", (28, 28)), ("size=10x20", (10, 20)), ("size=[10, 20]", (10, 20))],
)
def test_sizes_are_read(said: str, wanted: tuple[int, int]) -> None:
    assert read_feeding([said]).size == wanted


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("rnage=0-1", "range"),
        ("range=0-2", "0-255"),
        ("std=0", "above 0"),
        ("mean=1,2", "one a channel"),
        ("size=0", "1 to"),
        ("size=9999", "1 to"),
        ("mean=nan", "mean"),
        ("fit=squash", "letterbox"),
        ("imagenet", "name=value"),
    ],
)
def test_what_is_wrong_is_named(said: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_feeding([said])


def test_files_and_options_are_joined(tmp_path: Path) -> None:
    file = tmp_path / "input.toml"
    file.write_text('range = "0-1"\nmean = [0.5, 0.5, 0.5]\n')
    assert read_feeding([str(file), "range=0-255"]).range == "0-255"
    assert read_feeding([str(file)]).mean == (0.5, 0.5, 0.5)


def test_nothing_is_guessed() -> None:
    with pytest.raises(UsageError, match="range"):
        Feeding(size=(8, 8)).check_complete()
    with pytest.raises(UsageError, match="size"):
        Feeding(range="0-1").check_complete()


def test_what_the_file_says_cannot_be_talked_away() -> None:
    known = Feeding(layout="NCHW", size=(8, 8))
    check_agrees(known, read_feeding(["range=0-1"], known))
    with pytest.raises(UsageError, match="size"):
        check_agrees(known, read_feeding(["size=9"], known))


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.txt", "cat\n犬\n\n", ("cat", "犬")),
        ("a.txt", "\ufeffcat\r\ndog", ("cat", "dog")),
        ("a.json", '["cat", "dog"]', ("cat", "dog")),
        ("a.json", '{"1": "dog", "0": "cat"}', ("cat", "dog")),
    ],
)
def test_class_names_are_read(
    tmp_path: Path, name: str, content: str, wanted: tuple[str, ...]
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_class_names(tmp_path / name) == wanted


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", b"cat", "at least two"),
        ("a.txt", b"cat\n\ndog", "line 2"),
        ("a.txt", b"cat\ncat", "twice"),
        ("a.txt", b"\xff\xfe\x00", "no class names"),
        ("a.json", b'{"0": "cat", "2": "dog"}', "gap"),
        ("a.json", b"[1, 2]", "texts"),
        ("a.json", json.dumps("cat").encode(), "list"),
        ("a.json", b"[" * 100_000, "no class names"),
    ],
)
def test_wrong_class_names_are_refused(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=told):
        read_class_names(tmp_path / name)
