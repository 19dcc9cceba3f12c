"""What a user may decide about calibration, conformal sets and the rejection of unknowns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clearsight.core.config import Config
from clearsight.core.conformal import SetMethod
from clearsight.core.errors import ConfigError
from clearsight.core.nouns import Task
from clearsight.core.rejection import FEATURE_METHODS, RejectionMethod


class TrustSettings(Config):
    """How scores are calibrated, sets made and unknown pictures rejected.

    Args:
        calibration: "temperature", "vector" (a factor and an offset a class), or "auto": vector
            scaling where cross-validation on validation pictures finds it better.
        sets: the kind of conformal set, see `core.conformal`; "auto" takes the smallest that
            leaves no class behind, "off" makes none.
        level: per cent; how often the true class shall be in the sets of predictions.
        rejection: what familiarity is, see `core.rejection`; "auto" takes what tells known from
            unknown best on validation pictures, "off" accepts everything.
        keep: share of pictures of known classes that shall be accepted.
    """

    calibration: Literal["auto", "temperature", "vector"] = "auto"
    sets: SetMethod | Literal["auto", "off"] = "auto"
    level: Literal[90, 95] = 95
    rejection: RejectionMethod | Literal["auto", "off"] = "auto"
    keep: float = Field(default=0.95, ge=0.5, lt=1)


def check_trust(settings: TrustSettings, task: Task, features: bool) -> None:
    """Refuse what could have no effect, before anything is trained.

    Args:
        settings: what was asked for.
        task: what a label is.
        features: some family that will be trained gives feature vectors.

    Raises:
        ConfigError: an option that would do nothing.
    """
    given = settings.model_dump(exclude_unset=True)
    off = {"calibration": "temperature", "sets": "off", "rejection": "off"}
    asked = [name for name, value in given.items() if value not in ("auto", off.get(name))]
    if task == "multi-label" and asked:
        raise ConfigError(
            f"{', '.join(f'trust.{name}' for name in asked)} would do nothing: multi-label "
            "recognizers have a temperature, and no sets and no rejection. Leave it out."
        )
    if settings.sets == "off" and "level" in given:
        raise ConfigError("trust.level would do nothing with trust.sets=off. Leave one of them.")
    if settings.rejection == "off" and "keep" in given:
        raise ConfigError("trust.keep would do nothing with trust.rejection=off. Leave one out.")
    if settings.rejection in FEATURE_METHODS and not features:
        raise ConfigError(
            f"trust.rejection={settings.rejection} needs a recognizer with feature vectors, and "
            "none of those that would be trained gives any. Choose max-softmax or energy, or a "
            "network with --model."
        )
