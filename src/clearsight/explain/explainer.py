"""What an explainer is: it says which parts of a picture speak for a class."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from clearsight.core.config import Config
from clearsight.core.nouns import ImagesNHWC
from clearsight.core.registry import Registry
from clearsight.explain.question import Question
from clearsight.explain.subject import Subject

EXPLAINERS = Registry("clearsight.explain.methods", "explanation method", extra="train")
Maps = NDArray[np.float32]
"""(n, height, width) float32 at the model's input size; larger is more evidence."""
Needs = Literal["scores", "gradients", "attentions", "features"]


class Explainer(Protocol):
    """One method. Constructed with its configuration: `Rise(Rise.Config())`.

    Class attributes:
        Config: strict options, with defaults.
        needs: what it asks of a recognizer.
        complete: its maps sum to the scores' difference from those of `baseline`.
        compares: it can say why one class and not another; one that cannot looks at no class.
    """

    Config: ClassVar[type[Config]]
    needs: ClassVar[Needs]
    complete: ClassVar[bool]
    compares: ClassVar[bool]

    def __init__(self, config: Any) -> None: ...

    def maps(self, subject: Subject, images_nhwc: ImagesNHWC, question: Question) -> Maps:
        """Return one map a picture; a batch of n gives what n batches of one give.

        Args:
            subject: the recognizer.
            images_nhwc: (n, h, w, c) uint8, prepared.
            question: n classes, and perhaps n others.

        Raises:
            UsageError: the recognizer cannot give what the method needs.
        """
