"""Other forms of a Bundle's model: the same recognizer in a lower precision, each measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from clearsight.core.config import Config

if TYPE_CHECKING:
    from clearsight.core.bundle import Manifest

Precision = Literal["int8", "fp16", "bf16"]
"""What the weights (int8: the sums too) of a variant are made of; the model itself is fp32."""


class OnEngine(Config):
    """What one variant does on one engine, beside the fp32 model on the same engine.

    Args:
        drop: accuracy that is lost, in points of 100; negative where it is won.
        drop_low, drop_high: its 95 % interval (paired bootstrap).
        n: validation pictures that both answered.
        agreement: share of them for which both give the same answer.
        speed_up: pictures a second beside fp32, the median of paired rounds.
        speed_up_low, speed_up_high: the slowest and the fastest round.
    """

    drop: float
    drop_low: float
    drop_high: float
    n: int = Field(ge=1)
    agreement: float = Field(ge=0, le=1)
    speed_up: float = Field(gt=0)
    speed_up_low: float = Field(gt=0)
    speed_up_high: float = Field(gt=0)


class Variant(Config):
    """Another form of the model, a file of its own in the Bundle.

    Args:
        file: its ONNX file; the same inputs and outputs as the model.
        precision: what it is made of.
        engines: by key, the engines it passed the gate on.
        tolerance: largest difference of a probability from the fp32 golden scores.
        machine: where the speed was measured.
        made_with: how it was made, for a person.
    """

    file: str = Field(min_length=1)
    precision: Precision
    engines: dict[str, OnEngine] = Field(min_length=1)
    tolerance: float = Field(gt=0, le=1)
    machine: str
    made_with: dict[str, Any]

    def allowed_engines(self, max_drop: float) -> list[str]:
        """Return the engines on which it loses at most `max_drop` points, the fastest first."""
        fitting = {key: seen for key, seen in self.engines.items() if seen.drop <= max_drop}
        return sorted(fitting, key=lambda key: -fitting[key].speed_up)


def allowed_variants(manifest: Manifest, max_drop: float) -> list[str]:
    """Return the variants that lose at most `max_drop` points on some engine, the fastest first.

    Args:
        manifest: of a Bundle.
        max_drop: points of accuracy, of 100.

    Returns:
        Keys of `manifest.variants`; the fp32 model itself is not among them. Which engines each
        may run on says `Variant.allowed_engines`.
    """
    best = {
        key: variant.engines[engines[0]].speed_up
        for key, variant in manifest.variants.items()
        if (engines := variant.allowed_engines(max_drop))
    }
    return sorted(best, key=lambda key: -best[key])
