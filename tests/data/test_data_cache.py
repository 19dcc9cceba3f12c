import errno
import io
import threading
import time
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from clearsight.core.errors import StorageError
from clearsight.core.nouns import Preprocessing
from clearsight.data import cache as cache_module
from clearsight.data.cache import build_cache, prepare_all
from clearsight.data.check import check_dataset, find_damaged
from clearsight.data.dataset import Dataset, Sample, read_dataset
from clearsight.data.facts import ImageFacts, image_facts
from clearsight.data.fingerprint import fingerprint
from clearsight.data.preprocess import prepare, prepare_encoded
from clearsight.data.source import ArraySource
from clearsight.data.split import split

SMALL = Preprocessing(height=8, width=9)


def picture(seed, image_format="PNG", size=(12, 10)):
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, image_format)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for seed in range(50):
            encoded = picture((label == "dog", seed), "JPEG" if seed % 2 else "PNG")
            (root / label / f"{seed}.img").write_bytes(encoded)
    cut = picture(99, "JPEG")
    (root / "cat" / "7.img").write_bytes(cut[:-200])
    (root / "dog" / "49.img").write_bytes(picture(98)[:-300])
    return root


def arrays(n=600, size=(28, 28)):
    pixels = np.random.default_rng(0).integers(0, 256, (n, *size), dtype=np.uint8)
    samples = tuple(Sample(f"train/{index}", (index % 10,)) for index in range(n))
    names = tuple(map(str, range(10)))
    return Dataset("root", "idx", names, samples, (), (), ArraySource({"train": pixels})), pixels


class Collect:
    def __init__(self):
        self.started, self.done, self.finished = None, 0, 0

    def start(self, task, total, unit):
        self.started = (task, total, unit)

    def advance(self, amount, note=""):
        self.done += amount

    def finish(self):
        self.finished += 1

    def say(self, event, **fields):
        pass


def test_rows_are_the_prepared_pictures_and_damage_is_quarantined(folder, tmp_path):
    data = read_dataset(folder)
    progress = Collect()
    cache = build_cache(data, SMALL, tmp_path / "work", progress)
    assert {item.name: item.reason for item in cache.quarantined} == {
        "cat/7.img": "undecodable",
        "dog/49.img": "undecodable",
    }
    assert cache.images.shape == (98, 8, 9, 3)
    assert isinstance(cache.images, np.memmap)
    assert not cache.images.flags.writeable
    assert cache.labels.dtype == cache.kept.dtype == np.int64
    for row, index in enumerate(cache.kept.tolist()):
        expected = prepare_encoded(data.encoded(index), SMALL)
        np.testing.assert_array_equal(cache.images[row], expected)
        assert cache.labels[row] == data.samples[index].label
    assert progress.started == ("decode", 100, "images")
    assert (progress.done, progress.finished) == (100, 1)


def test_second_call_decodes_nothing_and_anything_else_decodes_again(folder, tmp_path, monkeypatch):
    data, work = read_dataset(folder), tmp_path / "work"
    first = build_cache(data, SMALL, work)
    decoded = []
    real = cache_module.prepare_all

    def spy(*args, **kwargs):
        decoded.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(cache_module, "prepare_all", spy)
    again = build_cache(read_dataset(folder), SMALL, work)
    np.testing.assert_array_equal(first.images, again.images)
    assert again.quarantined == first.quarantined
    assert not decoded
    build_cache(data, SMALL.model_copy(update={"fit": "crop"}), work)
    build_cache(data.select(range(50)), SMALL, work)
    build_cache(data.select([1, 0]), SMALL, work)
    order = build_cache(data.select([0, 1]), SMALL, work)
    assert len(decoded) == 4
    np.testing.assert_array_equal(order.images, first.images[:2])
    (folder / "cat" / "1.img").write_bytes(picture(1234))
    changed = build_cache(read_dataset(folder), SMALL, work)
    assert len(decoded) == 5
    assert not np.array_equal(changed.images, first.images)


@pytest.mark.parametrize("damage", ["cut", "no index", "no kept", "text"])
def test_a_damaged_cache_is_built_again(folder, tmp_path, damage):
    data, work = read_dataset(folder), tmp_path / "work"
    expected = np.array(build_cache(data, SMALL, work).images)
    (place,) = work.iterdir()
    images = place / "images.npy"
    if damage == "cut":
        images.write_bytes(images.read_bytes()[:-1])
    elif damage == "text":
        images.write_text("x")
    else:
        (place / ("index.json" if damage == "no index" else "kept.npy")).unlink()
    np.testing.assert_array_equal(build_cache(data, SMALL, work).images, expected)


def test_an_interrupted_build_leaves_nothing_and_can_be_repeated(folder, tmp_path, monkeypatch):
    data, work = read_dataset(folder), tmp_path / "work"

    class Interrupt(Collect):
        def advance(self, amount, note=""):
            super().advance(amount)
            if self.done == 60:
                raise KeyboardInterrupt

    before = cv2.getNumThreads()
    with pytest.raises(KeyboardInterrupt):
        build_cache(data, SMALL, work, Interrupt())
    assert list(work.iterdir()) == []
    assert cv2.getNumThreads() == before
    assert not [t for t in threading.enumerate() if t.name.startswith("clearsight-decode")]
    assert len(build_cache(data, SMALL, work).images) == 98


def test_litter_of_a_killed_build_is_removed(folder, tmp_path):
    work = tmp_path / "work"
    (work / ".clearsight-tmp-x").mkdir(parents=True)
    build_cache(read_dataset(folder), SMALL, work)
    assert len(list(work.iterdir())) == 1


def test_full_disk_is_a_storage_error(folder, tmp_path, monkeypatch):
    data, work = read_dataset(folder), tmp_path / "work"

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "_write_header", full)
        with pytest.raises(StorageError, match="no space left"):
            build_cache(data, SMALL, work)
    assert list(work.iterdir()) == []
    usage = cache_module.shutil.disk_usage(work)._replace(free=1000)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="Free some space"):
        build_cache(data, SMALL, work)


def test_a_work_folder_that_is_a_file(folder, tmp_path):
    (tmp_path / "work").write_text("x")
    with pytest.raises(StorageError):
        build_cache(read_dataset(folder), SMALL, tmp_path / "work")


def test_nothing_usable_gives_an_empty_cache(folder, tmp_path):
    data = read_dataset(folder)
    bad = data.select([i for i, s in enumerate(data.samples) if s.name == "cat/7.img"])
    for nothing in (bad, data.select([])):
        cache = build_cache(nothing, SMALL, tmp_path / "work")
        assert cache.images.shape == (0, 8, 9, 3)
        assert len(cache.labels) == len(cache.kept) == 0


def test_number_of_threads_does_not_matter(folder):
    data = read_dataset(folder)
    one, many = list(prepare_all(data, SMALL, 1)), list(prepare_all(data, SMALL, 7))
    for left, right in zip(one, many, strict=True):
        assert np.array_equal(left, right) or str(left) == str(right)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(28, 28), (16, 20)])
def test_idx_gives_what_its_pngs_give(tmp_path, channels, size):
    data, _ = arrays()
    wanted = Preprocessing(height=size[0], width=size[1], channels=channels)
    cache = build_cache(data, wanted, tmp_path)
    expected = [prepare_encoded(data.encoded(index), wanted) for index in range(len(data))]
    np.testing.assert_array_equal(cache.images, np.stack(expected))
    np.testing.assert_array_equal(cache.labels, [s.label for s in data.samples])
    chosen = build_cache(data.select([5, 3]), wanted, tmp_path)
    np.testing.assert_array_equal(chosen.images, np.stack(expected)[[5, 3]])
    np.testing.assert_array_equal(prepare(data.image(5), wanted), expected[5])


def test_idx_of_the_right_size_takes_no_time_and_no_file(tmp_path):
    data, pixels = arrays(60_000)
    started = time.process_time()
    cache = build_cache(data, Preprocessing(height=28, width=28, channels=1), tmp_path)
    assert time.process_time() - started < 1
    np.testing.assert_array_equal(cache.images[..., 0], pixels)
    assert list(tmp_path.iterdir()) == []


def test_fingerprint(folder, tmp_path):
    data = read_dataset(folder)
    first = fingerprint(data)
    assert first == fingerprint(data.select(reversed(range(100)))) == fingerprint(split(data, 3))
    assert len(first) == 64
    moved = tmp_path / "moved"
    folder.rename(moved)
    assert fingerprint(read_dataset(moved)) == first
    assert fingerprint(data.select(range(99))) != first
    assert fingerprint(replace(data, classes=("cat", "dogs"))) != first
    (moved / "cat" / "1.img").write_bytes(picture(1234))
    assert fingerprint(read_dataset(moved)) != first


def test_facts(tmp_path):
    assert image_facts(arrays()[0], 0) == ImageFacts(28, 28, True)
    for seed in range(9):
        (tmp_path / str(seed % 2)).mkdir(exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("L", (30, 20)).save(tmp_path / str(seed % 2) / f"{seed}.jpg", exif=exif)
    assert image_facts(read_dataset(tmp_path), 0) == ImageFacts(30, 20, True)
    for seed in range(9):
        Image.new("RGB", (30, 20), (9, 0, 0)).save(tmp_path / "1" / f"{seed}.png")
    (tmp_path / "1" / "cut.jpg").write_bytes(picture(0, "JPEG")[:-99])
    assert not image_facts(read_dataset(tmp_path), 0).grey


def test_check_counts_everything_and_decodes_everything(folder):
    (folder / "notes.txt").write_text("x")
    (folder / "cat" / "twin.png").write_bytes((folder / "cat" / "0.img").read_bytes())
    (folder / "dog" / "wrong.png").write_bytes((folder / "cat" / "0.img").read_bytes())
    (folder / "Cat").mkdir()
    (folder / "Cat" / "1.png").write_bytes(picture(4321))
    report = check_dataset(folder)
    assert report.found == 104 == report.used + report.quarantined + report.skipped
    assert (report.quarantined, report.skipped) == (2, 1)
    kinds = Counter(issue.kind for issue in report.issues)
    assert kinds == {
        "unreadable": 2,
        "duplicate": 1,
        "conflicting-label": 1,
        "case-twins": 1,
        "small-class": 1,
        "imbalance": 1,
    }
    values = report.model_dump()
    assert {"found", "used", "quarantined", "issues"} <= set(values)
    assert set(values["issues"][0]) == {"kind", "path", "other", "detail"}


def test_check_names_leaks_between_parts(tmp_path):
    for name, seed in {"train/a/1": 1, "train/b/2": 2, "val/a/1": 3, "test/a/9": 1}.items():
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(seed))
    leaks = [issue for issue in check_dataset(tmp_path).issues if issue.kind == "leak"]
    assert len(leaks) == 1
    assert {leaks[0].path, leaks[0].other} == {"train/a/1.png", "test/a/9.png"}


def test_check_one_class_and_a_class_that_is_lost(tmp_path):
    for name, content in {"a/1.jpg": picture(1), "b/1.jpg": picture(2, "JPEG")[:-99]}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    kinds = {(issue.kind, issue.path) for issue in check_dataset(tmp_path).issues}
    assert kinds == {
        ("unreadable", "b/1.jpg"),
        ("lost-class", "b"),
        ("one-class", "a"),
        ("small-class", "a"),
    }


def test_find_damaged_moves_pictures_and_loses_none(folder):
    data = read_dataset(folder)
    clean = find_damaged(data)
    assert clean.found == data.found
    assert len(data) - len(clean) == len(clean.quarantined) == 2
