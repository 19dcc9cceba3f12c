"""What a model from elsewhere expects of its input, and what its outputs are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator, model_validator

from clearsight.core.config import Config, override, read_config_file
from clearsight.core.errors import ConfigError, UsageError
from clearsight.core.nouns import ImagesNHWC, Preprocessing

Range = Literal["0-1", "0-255", "-1-1"]
Floats = NDArray[np.float32]
RANGES: dict[Range, tuple[float, float]] = {
    "0-255": (1.0, 0.0),
    "0-1": (1 / 255, 0.0),
    "-1-1": (1 / 127.5, -1.0),
}
"""Factor and summand that bring a pixel of 0 to 255 into each range."""
SIDE_AT_MOST = 4096


class Feeding(Config):
    """How pictures are turned into a model's input. What is None is not known (yet).

    A pixel of 0 to 255 is brought into `range`, then (pixel - mean) / std. Resizing and cropping
    is clearsight's (`data.preprocess`), as for every Bundle.

    Args:
        range: "0-1" (divided by 255), "0-255" (as they are) or "-1-1" (divided by 127.5, minus 1).
        mean, std: of each channel in the model's order, in units of `range`; one number serves
            all channels.
        size: height and width of the input.
        channels: "RGB", "BGR" or "grey" (one channel).
        layout: "NCHW" (channels before rows) or "NHWC".
        fit: see `core.nouns.Preprocessing`.
        pad_value: grey level of letterbox padding, 0-255.
        outputs: "logits" (any number) or "probabilities".
        output: name of the output that holds the scores, where there are several.
    """

    range: Range | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    size: tuple[int, int] | None = None
    channels: Literal["RGB", "BGR", "grey"] | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    fit: Literal["stretch", "crop", "letterbox"] = "stretch"
    pad_value: int = Field(default=0, ge=0, le=255)
    outputs: Literal["logits", "probabilities"] | None = None
    output: str | None = None

    @field_validator("mean", "std", "size", mode="before")
    @classmethod
    def _numbers(cls, value: Any, field: ValidationInfo) -> Any:
        """Read 0.5, "0.5,0.4,0.3" and "224x224"; one number for `size` is a square."""
        if isinstance(value, str):
            value = tuple(json.loads(part) for part in value.replace("x", ",").split(","))
        value = (value,) if isinstance(value, int | float) else value
        if field.field_name == "size" and value is not None and len(value) == 1:
            return (*value, *value)
        return value

    @field_validator("size")
    @classmethod
    def _possible(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not all(0 < side <= SIDE_AT_MOST for side in value):
            raise ValueError(f"height and width must be 1 to {SIDE_AT_MOST}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Feeding:
        if any(value <= 0 for value in self.std):
            raise ValueError("std must be above 0")
        lengths = {len(self.mean), len(self.std)} - {1}
        allowed = {"grey": {1}, None: {1, 3}}.get(self.channels, {1, 3})
        if not lengths <= allowed:
            raise ValueError("mean and std hold one number, or one a channel")
        return self

    def check_complete(self) -> None:
        """Refuse a feeding that leaves open what decides every answer.

        Raises:
            UsageError: the range or the size is not known.
        """
        _known(self.range, "range")
        _known(self.size, "size")

    @property
    def scale(self) -> tuple[Floats, Floats]:
        """Factor and summand (c,) or (1,) that turn a pixel into the model's input value."""
        factor, summand = RANGES[_known(self.range, "range")]
        mean, std = np.array(self.mean, np.float64), np.array(self.std, np.float64)
        return (factor / std).astype(np.float32), ((summand - mean) / std).astype(np.float32)

    def preprocessing(self) -> Preprocessing:
        """Return what the Bundle says of its input."""
        height, width = _known(self.size, "size")
        return Preprocessing(
            height=height,
            width=width,
            channels=1 if self.channels == "grey" else 3,
            fit=self.fit,
            pad_value=self.pad_value,
        )

    def feed(self, images_nhwc: ImagesNHWC) -> Floats:
        """Return the model's input for prepared pictures, worked out in NumPy.

        Args:
            images_nhwc: (n, h, w, 1 or 3) uint8 RGB.
        """
        factor, summand = RANGES[_known(self.range, "range")]
        pixels = images_nhwc[..., ::-1] if self.channels == "BGR" else images_nhwc
        values = (pixels * factor + summand - np.array(self.mean)) / np.array(self.std)
        values = values.transpose(0, 3, 1, 2) if self.layout == "NCHW" else values
        return np.ascontiguousarray(values, dtype=np.float32)


def _known(value: Any, name: str) -> Any:
    if value is None:
        raise UsageError(f"{MISSING[name]} Say it with --preprocess {name}=...")
    return value


MISSING = {
    "range": "The file does not say how pixels are scaled before they enter the model: 0-1 "
    "(divided by 255), 0-255 (as they are) or -1-1 (divided by 127.5, minus 1).",
    "size": "The model takes pictures of any size, so its file does not say which to use.",
}


def read_feeding(said: Sequence[str], known: Feeding | None = None) -> Feeding:
    """Return what the user said, on top of what the file says.

    Args:
        said: "name=value" each, or the path of a TOML or JSON file; the later one wins.
        known: what the file says.

    Raises:
        ConfigError: an unknown name (with the nearest one) or a wrong value.

    Example:
        >>> read_feeding(["range=0-1", "size=28"]).size
        (28, 28)
    """
    values = known.model_dump(exclude_unset=True) if known else {}
    for item in said:
        if "=" in item:
            values = override(values, [item])
        elif Path(item).suffix in (".toml", ".json"):
            values |= read_config_file(Path(item))
        else:
            names = ", ".join(Feeding.model_fields)
            raise ConfigError(
                f"--preprocess takes name=value or a .toml or .json file, got {item!r}. "
                f"Names: {names}."
            )
    return Feeding.parse(values)


def check_agrees(known: Feeding, said: Feeding) -> None:
    """Refuse what contradicts the file: a wrong input would be answered all the same.

    Raises:
        UsageError: a field that the file decides was given another value.
    """
    for name in known.model_fields_set - {"fit", "pad_value"}:
        decided, given = getattr(known, name), getattr(said, name)
        if decided is not None and given != decided:
            raise UsageError(
                f"--preprocess {name}={given}: the model's file says {decided}. Leave it out."
            )
