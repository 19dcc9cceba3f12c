"""What a training is asked to do."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from clearsight.core.config import Config
from clearsight.core.nouns import Task
from clearsight.learn.tracking import Tracker
from clearsight.learn.training import Choice, Training
from clearsight.learn.trust_settings import TrustSettings

DEFAULT_TIME_S = 600.0


class SplitSettings(Config):
    """Shares of pictures without a part of their own that go to validation and test."""

    val: float = Field(default=0.1, gt=0, lt=0.5)
    test: float = Field(default=0.1, ge=0, lt=0.5)


class TrainSettings(Config):
    """Everything that decides a training; stored resolved in RUN/run.json and in the Bundle.

    Args:
        model: "auto", a family's key, or a timm model name.
        seed: same seed, same weights on CPU (with `epochs`; a time budget depends on the clock).
        time_s: seconds from the start of the command until the Bundle is on disk.
        epochs: passes over the training part; with both, whichever ends first.
        task: what a label is; None takes what the data set says (its order of classes is the
            scale of an "ordinal" task).
        family: the chosen family's own configuration.
        training: how networks are trained; refused by families without gradient descent.
        harden: key of `learn/hardening` with options: train to hold when pictures are noisy,
            changed or attacked, and measure what that costs on clean ones.
        trust: how scores are calibrated, conformal sets made and unknown pictures rejected.
        imbalance: what to do when the largest class is several times the smallest: "auto" aims
            at the accuracy averaged over classes; "off" lets each picture count the same.
        ensemble_cost: `auto` may join several of its recognizers into one where that is better on
            validation by more than chance and takes at most so many times as long to answer as
            the best alone; 1 is for never.
        track: where curves and results go beside RUN: "tensorboard" writes event files to
            RUN/tensorboard while training, "mlflow" exports the finished run to RUN/mlruns or
            MLFLOW_TRACKING_URI.
        split: how pictures without a part are divided.
    """

    model: str = "auto"
    seed: int = Field(default=0, ge=0)
    time_s: float | None = Field(default=None, gt=0)
    epochs: float | None = Field(default=None, gt=0)
    task: Task | None = None
    family: dict[str, Any] = Field(default_factory=dict)
    training: Training = Training()
    harden: Choice | None = None
    trust: TrustSettings = TrustSettings()
    imbalance: Literal["auto", "off"] = "auto"
    ensemble_cost: float = Field(default=1.0, ge=1)
    track: tuple[Tracker, ...] = ()
    split: SplitSettings = SplitSettings()

    @field_validator("track", mode="before")
    @classmethod
    def _one_tracker(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _some_budget(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("time_s") and not values.get("epochs"):
            return {**values, "time_s": DEFAULT_TIME_S}
        return values
