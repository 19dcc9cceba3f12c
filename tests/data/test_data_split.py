from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearsight.core.errors import ConfigError, DataError
from clearsight.data.dataset import Dataset, Sample
from clearsight.data.source import ArraySource
from clearsight.data.split import split, twins


def dataset(contents, parts=None, classes=None):
    """Pictures given as (label, content number)."""
    n_classes = 1 + max((label for label, _ in contents), default=0)
    array = np.array([content for _, content in contents], np.uint16)
    pixels = array.view(np.uint8).reshape(-1, 1, 2)
    parts = parts or [None] * len(contents)
    samples = tuple(
        Sample(f"a/{index}", (label,), part)
        for index, ((label, _), part) in enumerate(zip(contents, parts, strict=True))
    )
    names = classes or tuple(f"class {label}" for label in range(n_classes))
    return Dataset(Path("data"), "idx", names, samples, (), (), ArraySource({"a": pixels}))


some = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=2, max_size=120)


@settings(max_examples=150, deadline=None)
@given(some, st.integers(0, 1000))
def test_every_picture_gets_a_part_and_copies_stay_together(contents, seed):
    data = dataset(contents)
    if len({label for label, _ in contents}) < 2:
        with pytest.raises(DataError, match="two classes"):
            split(data, seed)
        return
    done = split(data, seed)
    assert [(s.name, s.label) for s in done.samples] == [(s.name, s.label) for s in data.samples]
    assert {sample.part for sample in done.samples} <= {"train", "val", "test"}
    sides = {}
    for (_, content), sample in zip(contents, done.samples, strict=True):
        assert sides.setdefault(content, sample.part) == sample.part
    assert split(data, seed) == done
    assert {sample.part for sample in data.samples} == {None}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=5), st.integers(0, 99))
def test_classes_are_in_every_part(sizes, seed):
    numbers = iter(range(1000))
    data = dataset(
        [(label, next(numbers)) for label, size in enumerate(sizes) for _ in range(size)]
    )
    counts = Counter((sample.label, sample.part) for sample in split(data, seed).samples)
    for label, size in enumerate(sizes):
        got = [counts[label, part] for part in ("train", "val", "test")]
        if size >= 3:
            assert min(got) >= 1
            assert abs(got[1] - size / 10) <= 1
            assert abs(got[2] - size / 10) <= 1
        else:
            assert got == [1, size - 1, 0]


def test_seed_changes_the_parts_and_another_class_does_not():
    pictures = [(label, 100 * label + n) for label in range(3) for n in range(50)]
    data = dataset(pictures)
    assert split(data, 1) != split(data, 2)
    fewer = dataset([item for item in pictures if item[0] < 2])
    assert split(fewer, 1).samples == split(data, 1).samples[:100]


def test_existing_parts_are_kept_and_a_missing_one_comes_from_train():
    contents = [(n % 2, n) for n in range(200)]
    parts = ["test" if n >= 150 else "train" for n in range(200)]
    done = split(dataset(contents, parts), 0)
    assert [sample.part == "test" for sample in done.samples] == [p == "test" for p in parts]
    assert len(done.part("val")) == pytest.approx(150 / 9, abs=2)
    given_all = dataset(contents, ["train", "val", "test", "train"] * 50)
    assert split(given_all, 0) == given_all
    unmarked = split(dataset(contents, [None] * 150 + ["test"] * 50), 0)
    assert len(unmarked.part("test")) == 50
    assert len(unmarked.part("train")) + len(unmarked.part("val")) == 150


def test_a_share_of_zero_makes_no_such_part():
    done = split(dataset([(n % 2, n) for n in range(40)]), 0, (0.75, 0.25, 0))
    assert Counter(sample.part for sample in done.samples) == {"train": 30, "val": 10}


@pytest.mark.parametrize("bad", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (0, 0.5, 0.5)])
def test_bad_fractions(bad):
    with pytest.raises(ConfigError, match="fraction"):
        split(dataset([(0, 1), (1, 2)]), 0, bad)


def test_twins_are_refused_by_name():
    data = dataset([(0, 1), (1, 2)], classes=("Cat", "cat"))
    with pytest.raises(DataError, match=r"'Cat' and 'cat'"):
        split(data, 0)
    assert twins(["é", "e\u0301", "E\u0301", "dog"]) == [("é", "e\u0301"), ("é", "E\u0301")]
    assert twins(["猫", "犬", "🐶", "ß", "ss "]) == [("ß", "ss ")]


def test_sixty_thousand_pictures():
    labels = np.arange(60_000) % 10
    data = dataset([(int(label), n % 65_536) for n, label in enumerate(labels)])
    done = split(data, 0)
    assert Counter(sample.part for sample in done.samples) == {
        "train": 48_000,
        "val": 6_000,
        "test": 6_000,
    }
    assert len(replace(done, samples=()).part("val")) == 0
