"""Class activation maps: the last feature map, weighted by the linear head; no torch needed."""

from __future__ import annotations

from typing import ClassVar

from clearsight.core.config import Config
from clearsight.core.errors import UsageError
from clearsight.core.nouns import ImagesNHWC
from clearsight.explain.explainer import Maps, Needs
from clearsight.explain.methods._layer import enlarged
from clearsight.explain.question import Question
from clearsight.explain.subject import Subject


class CamConfig(Config):
    """CAM has no options."""


class Cam:
    """Weights the last feature map by the head; one pass of the deployed model.

    Args:
        config: its options.

    Source:
        Zhou et al., Learning Deep Features for Discriminative Localization (2016), section 2.

    Example:
        >>> Cam(CamConfig()).needs
        'features'
    """

    Config: ClassVar[type[Config]] = CamConfig
    needs: ClassVar[Needs] = "features"
    complete: ClassVar[bool] = False
    compares: ClassVar[bool] = True

    def __init__(self, config: CamConfig) -> None:
        self.config = config

    def maps(self, subject: Subject, images_nhwc: ImagesNHWC, question: Question) -> Maps:
        """Return one map a picture; see `Explainer.maps`."""
        evidence = subject.evidence
        if evidence is None:
            raise UsageError(
                "CAM needs a feature map and a linear head behind its mean or largest value; this "
                "recognizer has none. Use --method grad-cam, or rise, which needs only scores."
            )
        return enlarged(evidence(images_nhwc, question), images_nhwc)
