"""The sheet shows training pictures as they are and as the network sees them."""

import io
from functools import partial

import numpy as np
import pytest
from augment_jobs import SIDE, job_of
from gradient_worker import Quiet, make_job, make_network
from PIL import Image

from clearsight.learn.augment import build_augment
from clearsight.learn.augment_sheet import write_sheet
from clearsight.learn.family import Budget
from clearsight.learn.mixes import build_mix
from clearsight.learn.run_folder import RunFolder
from clearsight.learn.trainers.gradient import Recipe, train_network
from clearsight.learn.training import Choice, Training

GAP = 8


@pytest.fixture
def job(tmp_path):
    """Return a job with pictures of a kind; see `job_of`."""
    return partial(job_of, work=tmp_path / "work" / "compact")


def tiles(job, told):
    """Return the rows of the written sheet as arrays (8, h, w, 4), and the sheet's alpha."""
    sheet = np.asarray(Image.open(job.work / told["sheet"]))
    blocks = 112 // SIDE
    side = blocks * SIDE
    rows = [
        np.stack([sheet[y : y + side, x : x + side] for x in range(0, sheet.shape[1], side + GAP)])
        for y in range(0, sheet.shape[0], side + GAP)
    ]
    return [row[:, ::blocks, ::blocks] for row in rows], sheet[..., 3]


def test_first_row_is_as_they_are_and_the_rest_is_changed(job):
    tints = job("tints")
    augment = build_augment([Choice(name="rotate"), Choice(name="colour")], tints)
    told = write_sheet(tints, augment, build_mix("cutmix", {}))
    rows, alpha = tiles(tints, told)
    assert len(rows) == len(told["rows"]) == 6
    known = {picture.tobytes() for picture in tints.train_images}
    assert all(picture[..., :3].tobytes() in known for picture in rows[0])
    for row in rows[1:]:
        assert not any(picture[..., :3].tobytes() in known for picture in row)
    assert set(np.unique(alpha)) == {0, 255}
    assert [change["name"] for change in told["changes"]] == ["rotate", "colour"]
    assert told["changes"][1]["options"]["hue_degrees"] == 0  # as resolved, not as the default
    assert told["mix"] == {"name": "cutmix", "options": {"alpha": 1.0}}
    assert any("tinted" in item["reason"] and not item["allowed"] for item in told["reasons"])


def test_every_class_is_shown_first(job):
    few = job("discs", n=300)
    few.train_labels[:] = 0
    few.train_labels[7], few.train_labels[123] = 1, 2
    told = write_sheet(few, build_augment([Choice(name="crop")], few), None)
    shown = {picture[..., :1].tobytes() for picture in tiles(few, told)[0][0]}
    assert few.train_images[7].tobytes() in shown
    assert few.train_images[123].tobytes() in shown


def test_a_mixed_row_lets_both_be_seen(job):
    discs = job("discs")
    told = write_sheet(discs, None, build_mix("mixup", {"alpha": 0.1}))
    shares = [int(title.split(",")[1].split("%")[0]) for title in told["rows"][1:]]
    assert len(shares) == 2
    assert all(25 <= share <= 75 for share in shares)
    assert told["changes"] == []


def test_the_same_seed_draws_the_same_sheet(job):
    discs = job("discs")
    one, two = (
        write_sheet(discs, build_augment([Choice(name="rand-augment")], discs), None)
        for _ in range(2)
    )
    assert one == two


def test_no_change_no_sheet(job):
    discs = job("discs")
    assert write_sheet(discs, None, None) is None
    assert not discs.work.exists()


def test_large_pictures_are_shrunk(job):
    grey = job("grey")
    grey.train_images = np.repeat(np.repeat(grey.train_images, 10, 1), 5, 2)
    told = write_sheet(grey, build_augment([Choice(name="crop")], grey), None)
    width, height = Image.open(io.BytesIO((grey.work / told["sheet"]).read_bytes())).size
    assert (width, height) == (8 * (56 + GAP) - GAP, 4 * (112 + GAP) - GAP)


def test_the_run_keeps_the_sheet_that_the_story_names(job, tmp_path):
    discs = job("discs")
    told = write_sheet(discs, build_augment([Choice(name="crop")], discs), None)
    run = RunFolder(tmp_path)
    for story in ({}, {"augmentation": None}, {"augmentation": {"sheet": "sheet-0.png"}}):
        run.keep_sheet(story)
        assert not run.sheet.exists()
    run.keep_sheet({"augmentation": told})
    assert run.sheet.read_bytes() == (discs.work / told["sheet"]).read_bytes()


@pytest.mark.parametrize(
    ("given", "names", "mix"),
    [
        ({}, [], None),
        ({"augment": ["crop", "random-erasing"], "mix": "mixup"}, ["crop", "random-erasing"], True),
        ({"augment": [], "mix": "none"}, [], None),
    ],
)
def test_the_trainer_draws_what_it_resolved(tmp_path, given, names, mix):
    job = make_job(tmp_path, Budget(epochs=0.1), Quiet())
    job.training = Training.parse(given)
    story = train_network(make_network(job), job, Recipe(lr=0.01, batch_size=32))
    told = story["augmentation"]
    if not names:
        assert told is None
        return
    assert [change["name"] for change in told["changes"]] == names
    assert bool(told["mix"]) is bool(mix)
    assert (tmp_path / told["sheet"]).is_file()
