"""Which changes keep labels is read off the training pictures; what is asked for is done."""

from functools import partial

import numpy as np
import pytest
from augment_jobs import job_of

from clearsight.learn.augment import build_augment, photo_changes
from clearsight.learn.augment.flip import Flip
from clearsight.learn.label_preserving import LabelPreserving
from clearsight.learn.training import Choice


@pytest.fixture
def job(tmp_path):
    """Return a job with pictures of a kind; see `job_of`."""
    return partial(job_of, work=tmp_path)


def verdicts(job):
    return LabelPreserving(job.train_images, job.train_labels, job.classes, job.seed)


def built(job, name, **options):
    return build_augment([Choice(name=name, options=options)], job).steps[0].config


def test_arrows_are_not_mirrored(job):
    keeps = verdicts(job("arrows"))
    assert not keeps.left_right.allowed
    assert "'left' and 'right' turn into each other" in keeps.left_right.reason
    assert keeps.up_down.allowed
    assert not keeps.quarter_turns.allowed
    assert 0 < keeps.degrees < 180


def test_discs_may_be_turned_and_mirrored(job):
    keeps = verdicts(job("discs"))
    assert keeps.left_right.allowed
    assert keeps.up_down.allowed
    assert keeps.quarter_turns.allowed
    assert keeps.degrees == 180


def test_where_colour_is_the_class_the_hue_stays(job):
    tints = job("tints")
    assert not verdicts(tints).hue.allowed
    assert built(tints, "colour").hue_degrees == 0
    assert built(tints, "colour").saturation_share > 0
    assert not tints.progress.said
    assert built(tints, "colour", hue_degrees=40).hue_degrees == 40
    assert any("used as asked" in said for said in tints.progress.said)


def test_where_shape_is_the_class_the_hue_may_change(job):
    assert verdicts(job("tinted discs")).hue.allowed
    assert built(job("tinted discs"), "colour").hue_degrees > 0


def test_open_options_follow_the_pictures(job):
    assert built(job("arrows"), "shift-flip").mirror is False
    assert built(job("discs"), "shift-flip").mirror is True
    assert built(job("arrows"), "flip").model_dump() == {
        "left_right_share": 0,
        "up_down_share": 0.5,
    }
    assert built(job("discs"), "rotate").quarter_turns is True
    assert built(job("arrows"), "rotate").quarter_turns is False
    limit = verdicts(job("arrows")).degrees
    for name in ("trivial-augment", "rand-augment", "augmix"):
        assert built(job("arrows"), name).degrees <= limit


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("flip", {"left_right_share": 0.5}),
        ("shift-flip", {"mirror": True}),
        ("rotate", {"degrees": 180}),
        ("rotate", {"quarter_turns": True}),
        ("trivial-augment", {"degrees": 135}),
    ],
)
def test_what_is_asked_for_is_done_with_a_warning(job, name, options):
    arrows, discs = job("arrows"), job("discs")
    for asked in (arrows, discs):
        assert {k: v for k, v in built(asked, name, **options) if k in options} == options
    assert any("used as asked" in said for said in arrows.progress.said)
    assert not discs.progress.said


def test_too_few_pictures_allow_nothing(job):
    few = job("discs", n=12)
    keeps = verdicts(few)
    assert not keeps.left_right.allowed
    assert "too few" in keeps.left_right.reason
    assert keeps.degrees == 0


def test_many_labels_count_as_their_set(job):
    arrows = job("arrows")
    rows = np.eye(len(arrows.classes), dtype=np.int64)[arrows.train_labels]
    keeps = LabelPreserving(arrows.train_images, rows, arrows.classes, arrows.seed)
    assert not keeps.left_right.allowed
    assert keeps.up_down.allowed


def test_the_same_seed_gives_the_same_verdicts(job):
    one, two = verdicts(job("arrows")), verdicts(job("arrows"))
    for name in ("left_right", "up_down", "quarter_turns", "degrees"):
        assert getattr(one, name) == getattr(two, name)


def test_the_chain_tells_what_was_asked(job):
    chain = build_augment([Choice(name="flip"), Choice(name="rotate")], job("arrows"))
    assert any("turn into each other" in verdict.reason for verdict in chain.reasons)


def test_photo_changes_fit_the_pictures_and_warn_of_nothing(job):
    for kind, names in (
        ("arrows", ["crop", "flip", "colour"]),
        ("tints", ["crop", "flip", "colour"]),
    ):
        asked = job(kind)
        chain = build_augment(photo_changes(asked), asked)
        assert [type(step).__name__.lower() for step in chain.steps] == names
        assert not asked.progress.said
    assert build_augment(photo_changes(job("arrows")), job("arrows")).steps[1].config == (
        Flip.Config(left_right_share=0, up_down_share=0.5)
    )
    few = job("discs", n=12)
    assert [choice.name for choice in photo_changes(few)] == ["crop", "colour"]
