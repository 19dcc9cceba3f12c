"""Attention rollout: where a transformer looked, through all of its blocks."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clearsight.core.config import Config
from clearsight.core.errors import UsageError
from clearsight.core.nouns import ImagesNHWC
from clearsight.explain.explainer import Maps, Needs
from clearsight.explain.methods._layer import enlarged
from clearsight.explain.question import Question
from clearsight.explain.subject import Subject

MOST_PREFIX_TOKENS = 16


class AttentionRolloutConfig(Config):
    """How a block's heads are joined.

    Args:
        heads: their mean, as published, or the largest.
    """

    heads: Literal["mean", "max"] = "mean"


class AttentionRollout:
    """Multiplies the blocks' attention; it says where the network looked, for whichever class.

    Args:
        config: its options.

    Source:
        Abnar, Zuidema, Quantifying Attention Flow in Transformers (2020), section 3.

    Example:
        >>> AttentionRollout(AttentionRolloutConfig()).compares
        False
    """

    Config: ClassVar[type[Config]] = AttentionRolloutConfig
    needs: ClassVar[Needs] = "attentions"
    complete: ClassVar[bool] = False
    compares: ClassVar[bool] = False

    def __init__(self, config: AttentionRolloutConfig) -> None:
        self.config = config

    def maps(self, subject: Subject, images_nhwc: ImagesNHWC, question: Question) -> Maps:
        """Return one map a picture; see `Explainer.maps`."""
        if question.against is not None:
            raise UsageError(
                "Attention rollout looks at no class, so it cannot say why one and not another. "
                "Use --method integrated-gradients, occlusion or rise."
            )
        attentions = subject.live.attentions(images_nhwc.astype(np.float32))
        if not attentions:
            raise UsageError(
                "This recognizer has no attention over the whole picture. Use --method grad-cam, "
                "or rise, which needs only scores."
            )
        flow = self._rollout(attentions)
        prefix, height, width = _grid(flow.shape[1], *images_nhwc.shape[1:3])
        seen = flow[:, 0, prefix:] if prefix else flow.mean(axis=1)
        return enlarged(seen.reshape(-1, height, width).astype(np.float32), images_nhwc)

    def _rollout(self, attentions: tuple[NDArray[np.float32], ...]) -> NDArray[np.float64]:
        """Return (n, tokens, tokens): how much of every first token is in every last one."""
        flow: NDArray[np.float64] | None = None
        for block in attentions:
            joined = block.mean(axis=1) if self.config.heads == "mean" else block.max(axis=1)
            step = joined.astype(np.float64) + np.eye(joined.shape[-1])
            step /= step.sum(axis=-1, keepdims=True)
            flow = step if flow is None else step @ flow
        assert flow is not None
        return flow


def _grid(tokens: int, height: int, width: int) -> tuple[int, int, int]:
    """Return how many tokens stand before the patches, and the patches' rows and columns.

    Raises:
        UsageError: the tokens are no grid over the picture.
    """
    for prefix in (1, 0, *range(2, MOST_PREFIX_TOKENS + 1)):
        patches = tokens - prefix
        rows = round(math.sqrt(max(0, patches) * height / width))
        if rows > 1 and patches % rows == 0 and abs(patches // rows - rows * width / height) < 0.5:
            return prefix, rows, patches // rows
    raise UsageError(
        f"The network's {tokens} tokens are no grid over the picture. Use --method rise, which "
        "needs only scores."
    )
