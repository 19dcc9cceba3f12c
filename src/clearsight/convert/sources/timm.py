"""timm models with their pre-trained weights: `timm:tf_efficientnet_lite0`."""

from __future__ import annotations

from typing import ClassVar

from clearsight.convert.feeding import Feeding
from clearsight.convert.packages import needed
from clearsight.convert.source import Read, Wanted
from clearsight.core.errors import BundleError

BEGINNING = "timm:"


class Timm:
    """Builds a network by its timm name, from the hub or from an installed package."""

    takes_architecture: ClassVar[bool] = False

    def claims(self, model: str) -> bool:
        """Whether it begins with "timm:"."""
        return model.startswith(BEGINNING)

    def read(self, model: str, wanted: Wanted) -> Read:
        """Read a model; see `Source.read`."""
        name = model.removeprefix(BEGINNING)
        learn = needed("clearsight.learn.timm_import", "Importing from timm", "train")
        made = learn.pretrained_network(name, wanted.progress)
        if made.classes != wanted.classes:
            raise BundleError(
                f"{name} was trained for {made.classes} classes; --classes names {wanted.classes}. "
                "Give the file with the names of its own classes, or train it on yours: "
                f"clearsight train DATA --model {name}."
            )
        return Read(
            format="timm",
            model=made.model,
            feeding=timm_feeding(made.mean, made.std, made.side),
            original=made.run,
            licences=(made.licence,) if made.licence else (),
            told={"architecture": name},
        )


def timm_feeding(mean: tuple[float, ...], std: tuple[float, ...], side: int) -> Feeding:
    """Return how a timm model is fed; mean and std in pixels of 0 to 255."""
    return Feeding(
        range="0-255",
        mean=mean,
        std=std,
        size=(side, side),
        channels="RGB",
        layout="NCHW",
        outputs="logits",
    )
