"""A session that looks at every picture twice: as it is, and mirrored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.engines.session import Outputs, Session

LOGITS = "logits"


class MirroredSession:
    """Answers with the mean logits of a picture and its mirror image; implements `Session`.

    Other outputs (embedding, feature map) are those of the picture as it is. Every answer costs
    twice the time.

    Args:
        session: the model, ready to run.

    Source:
        Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks (2012),
        section 4.1 (averaged views when testing).
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def engine(self) -> str:
        """Key of the engine that runs it."""
        return self._session.engine

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of every output that can be asked for."""
        return self._session.outputs

    def run(self, images_nhwc: ImagesNHWC, outputs: Sequence[str] = (LOGITS,)) -> Outputs:
        """Run a batch; see `Session.run`."""
        found = self._session.run(images_nhwc, outputs)
        if LOGITS in found:
            flipped = np.ascontiguousarray(images_nhwc[:, :, ::-1])
            other = self._session.run(flipped, outputs)[LOGITS]  # the same compiled model
            middle = (found[LOGITS] + other) / np.float32(2)
            found = {**found, LOGITS: middle.astype(np.float32, copy=False)}
        return found
