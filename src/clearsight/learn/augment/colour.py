"""Random brightness, contrast, saturation and hue."""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from clearsight.core.config import Config as BaseConfig
from clearsight.core.errors import ConfigError
from clearsight.learn.augment._draws import uniform
from clearsight.learn.label_preserving import TrainingPictures
from clearsight.learn.pixel_values import recolour

OF_COLOUR = ("saturation_share", "hue_degrees")


class Colour:
    """Makes pictures brighter or darker, flatter or harder, greyer or gaudier, and tints them.

    Args:
        config: how far.

    Source:
        Howard, Some Improvements on Deep Convolutional Neural Network Based Image Classification
        (2013), section 2.
    """

    class Config(BaseConfig):
        """Options of the augmentation.

        Args:
            brightness_share, contrast_share, saturation_share: most by which the factor is away
                from 1, for example 0.2 for factors from 0.8 to 1.2.
            hue_degrees: most degrees by which colours move around the colour circle.
        """

        brightness_share: float = Field(default=0.2, ge=0, le=1)
        contrast_share: float = Field(default=0.2, ge=0, le=1)
        saturation_share: float = Field(default=0.2, ge=0, le=1)
        hue_degrees: float = Field(default=10.0, ge=0, le=180)

        @model_validator(mode="after")
        def _something(self) -> Self:
            if not any(dict(self).values()):
                raise ValueError("colour with every option 0 changes nothing; leave it out")
            return self

    def __init__(self, config: Colour.Config) -> None:
        self.config = config

    def __repr__(self) -> str:
        return f"Colour({self.config!r})"

    @classmethod
    def adapted(cls, config: Colour.Config, pictures: TrainingPictures) -> Colour.Config:
        """Leave the hue alone where it may carry the label, and saturation of grey pictures.

        Raises:
            ConfigError: saturation or hue of grey pictures was asked for.
        """
        given = config.model_fields_set
        values = dict(config)
        if pictures.keeps_labels.grey:
            asked = [name for name in OF_COLOUR if name in given and values[name]]
            if asked:
                raise ConfigError(
                    f"The training pictures are grey: colour's {' and '.join(asked)} would change "
                    "nothing. Leave it out; brightness_share and contrast_share work."
                )
            return cls.Config.parse(values | dict.fromkeys(OF_COLOUR, 0.0))
        hue = pictures.keeps_labels.hue
        if "hue_degrees" not in given and not hue.allowed:
            values["hue_degrees"] = 0.0
        if values["hue_degrees"]:
            pictures.warn_unless(hue, "colour (hue)")
        return cls.Config.parse(values)

    def __call__(
        self, images_nhwc: Tensor, numbers: Tensor, epoch: int, random: torch.Generator
    ) -> Tensor:
        """Return uint8 (n, h, w, c) pictures; see `Augment`."""
        n, options = len(images_nhwc), self.config
        shares = (options.brightness_share, options.contrast_share, options.saturation_share)
        brightness, contrast, saturation = (
            uniform(n, 1 - share, 1 + share, random) for share in shares
        )
        hue = uniform(n, -options.hue_degrees, options.hue_degrees, random)
        return recolour(
            images_nhwc,
            brightness,
            contrast,
            saturation if options.saturation_share else None,
            hue if options.hue_degrees else None,
        )
