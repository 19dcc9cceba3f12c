"""The compact family: input size, mirroring decided from data, changes of pictures, export."""

import time

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from clearsight.core.nouns import Preprocessing
from clearsight.engines.open import open_session
from clearsight.learn.augment.shift_flip import ShiftFlip
from clearsight.learn.export import export_onnx
from clearsight.learn.families import compact
from clearsight.learn.families.compact import Compact
from clearsight.learn.family import Budget, Facts, Job
from clearsight.learn.label_preserving import LabelPreserving
from clearsight.learn.networks.compact_network import CompactNetwork
from clearsight.testing.toy_pictures import CLASSES, toy_pictures


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _digits():
    data = load_digits()
    return (data.images * 15).astype(np.uint8)[..., None], data.target.astype(np.int64)


def test_digits_are_never_mirrored():
    images, labels = _digits()
    for size in (1, 3):  # as they are, and enlarged
        large = images.repeat(size, 1).repeat(size, 2)
        verdict = LabelPreserving(large, labels, tuple("0123456789"), seed=0).left_right
        assert not verdict.allowed, verdict


def test_symmetric_pictures_are_mirrored():
    images, labels = toy_pictures(Preprocessing(height=20, width=20, channels=3), 60, seed=0)
    images[1::2] = images[1::2, :, ::-1]  # every class both ways
    verdict = LabelPreserving(images, labels, CLASSES, seed=0).left_right
    assert verdict.allowed
    assert "3 of 3 classes" in verdict.reason


def test_classes_that_are_mirror_images_forbid_mirroring():
    images, labels = toy_pictures(Preprocessing(height=20, width=20, channels=1), 60, seed=0)
    y, x = np.mgrid[:20, :20]
    left = np.where(x < y, 200, 40).astype(np.uint8)[None, ..., None].repeat(60, 0)
    images = np.concatenate([images, left, left[:, :, ::-1]])
    labels = np.concatenate([labels, np.repeat([3, 4], 60)])
    verdict = LabelPreserving(images, labels, (*CLASSES, "left", "right"), seed=0).left_right
    assert not verdict.allowed
    assert "'left' and 'right' turn into each other" in verdict.reason


def test_too_few_pictures_are_not_mirrored():
    images, labels = toy_pictures(Preprocessing(height=20, width=20, channels=1), 2, seed=0)
    assert not LabelPreserving(images, labels, CLASSES, seed=0).left_right.allowed


def test_two_epochs_show_every_picture_both_ways():
    images = torch.randint(0, 256, (40, 6, 7, 3), dtype=torch.uint8)
    augment = ShiftFlip(ShiftFlip.Config(shift=0, mirror=True))
    numbers = torch.arange(40)
    even, odd = (augment(images, numbers, epoch, torch.Generator()) for epoch in (0, 1))
    flipped = images.flip(2)
    was = [torch.equal(got, mirror) for got, mirror in zip(even, flipped, strict=True)]
    then = [torch.equal(got, mirror) for got, mirror in zip(odd, flipped, strict=True)]
    assert was == [not turned for turned in then]
    assert 8 <= sum(was) <= 32


def test_shifts_reflect_at_the_border():
    images = torch.arange(5, dtype=torch.uint8).reshape(1, 1, 5, 1).repeat(200, 3, 1, 1)
    augment = ShiftFlip(ShiftFlip.Config(shift=2))
    moved = augment(images, torch.arange(200), 0, torch.Generator().manual_seed(0))
    rows = {tuple(row.tolist()) for row in moved[:, 0, :, 0]}
    assert rows == {
        (2, 1, 0, 1, 2), (1, 0, 1, 2, 3), (0, 1, 2, 3, 4), (1, 2, 3, 4, 3), (2, 3, 4, 3, 2)
    }  # fmt: skip


@pytest.mark.parametrize(("side", "stages"), [(8, 1), (20, 3), (28, 2), (32, 2), (64, 3)])
def test_the_network_fits_the_input(tmp_path, side, stages):
    family = Compact(Compact.Config(width=8))
    size = family.preprocessing(Facts(("a", "b"), (9, 9), side, side, grey=False))
    assert (size.height, size.width, size.channels) == (side, side, 3)
    images = np.random.default_rng(0).integers(0, 256, (18, side, side, 3), dtype=np.uint8)
    labels = np.tile([0, 1], 9)
    job = Job(images, labels, images, labels, ("a", "b"), size, 0, Budget(epochs=1), tmp_path, None)
    fitted = family.fit(job)
    assert len(fitted.network.stages) == stages
    assert np.isfinite(fitted.logits(images)).all()


def test_a_short_budget_leaves_pictures_as_they_are(tmp_path):
    images, labels = toy_pictures(Preprocessing(height=28, width=28, channels=1), 40, seed=0)
    size = Preprocessing(height=28, width=28, channels=1)
    made = Compact(Compact.Config(width=8))
    told = []
    for name, budget in (
        ("few", Budget(epochs=2)),
        ("many", Budget(epochs=6)),
        ("clock", Budget(deadline=time.monotonic() + 5)),
        ("long", Budget(epochs=31)),
    ):
        work = tmp_path / name
        job = Job(images, labels, images, labels, CLASSES, size, 0, budget, work, None)
        told.append(made.fit(job).story["changes"])
    assert [(changes["shift"], changes["mirror"]) for changes in told] == [
        (0, False),
        (1, True),
        (1, True),
        (1, True),
    ]
    assert [changes["erase"] for changes in told] == [False, False, True, True]


def test_exported_views_are_averaged_and_batches_do_not_matter():
    torch.manual_seed(0)
    network = CompactNetwork(3, 4, stem_stride=2, widths=[8, 16], residuals=1, mirrored=True)
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 24, 3), dtype=np.uint8)
    network.whiten(images)
    network.train()
    for _ in range(3):  # running means that are not the initial ones
        network(torch.from_numpy(images).permute(0, 3, 1, 2).float())
    network.eval()
    size = Preprocessing(height=32, width=24, channels=3)
    model = export_onnx(network, size, ("logits", "embedding", "features"))
    with torch.inference_mode():
        expected = network(torch.from_numpy(images).permute(0, 3, 1, 2).float()).numpy()
    for engine in ("onnxruntime", "openvino"):
        session = open_session(model, engine)
        whole = session.run(images)["logits"]
        single = np.concatenate([session.run(images[i : i + 1])["logits"] for i in range(7)])
        turned = session.run(np.ascontiguousarray(images[:, :, ::-1]))["logits"]
        assert np.abs(whole - expected).max() < 1e-4
        assert np.abs(whole - single).max() < 1e-5
        assert np.abs(whole - turned).max() < 1e-4
        assert session.run(images, ("features",))["features"].shape == (7, 16, 4, 3)


@pytest.mark.parametrize(
    ("pictures", "pass_s", "asked", "width"),
    [
        (25_000, 20.0, None, 64),  # 50 passes fit: all of them go into the usual network
        (25_000, 4.0, None, 128),  # 250 would fit
        (25_000, 4.0, 32, 32),
        (2_000, 0.1, None, 64),  # few pictures teach a wider one little
    ],
)
def test_much_time_for_many_pictures_makes_the_network_wider(
    tmp_path, monkeypatch, pictures, pass_s, asked, width
):
    monkeypatch.setattr(compact, "seconds_per_pass", lambda *_, **__: pass_s)
    images = np.zeros((pictures, 8, 8, 1), np.uint8)
    images[::2] = 255
    labels = np.arange(pictures) % 2
    size = Preprocessing(height=8, width=8, channels=1)
    budget = Budget(deadline=time.monotonic() + 1000)
    job = Job(images, labels, images, labels, ("a", "b"), size, 0, budget, tmp_path, None)
    made = Compact(Compact.Config(width=asked))
    assert made._changes(job).width == width
    monkeypatch.setattr(compact, "seconds_per_pass", None)  # decided once: a resumed run asks not
    assert made._changes(job).width == width
