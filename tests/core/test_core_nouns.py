from __future__ import annotations

from typing import Any

import pytest

from clearsight.core.errors import ConfigError
from clearsight.core.nouns import Prediction, Preprocessing
from clearsight.core.progress import Progress, Silent


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 0},
        {"width": 4097},
        {"channels": 2},
        {"fit": "squash"},
        {"pad_value": 256},
        {"heigth": 8},
    ],
)
def test_preprocessing_is_bounded(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Preprocessing.parse({"height": 8, "width": 8} | wrong)


def test_preprocessing_round_trips() -> None:
    wanted = Preprocessing(height=8, width=9, channels=1, fit="letterbox", pad_value=7)
    assert Preprocessing.parse(wanted.model_dump(mode="json")) == wanted


def test_prediction_names_its_best() -> None:
    said = Prediction(("猫", "dog"), (0.75, 0.25))
    assert (said.label, said.score, said.accepted) == ("猫", 0.75, True)
    with pytest.raises(AttributeError):
        said.accepted = False  # type: ignore[misc]


def test_silence_is_a_progress() -> None:
    silent: Progress = Silent()
    silent.start("x", 1, "images")
    silent.advance(1, "note")
    silent.say("event", reason=1)
    silent.finish()
