"""Makes a version ready to answer: the fastest allowed engine and variant, checked and warm."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np

from clearsight.engines.fastest import fastest
from clearsight.engines.golden import verify_golden
from clearsight.engines.open import open_predictor
from clearsight.engines.session import ENGINES, cores
from clearsight.serve.loading import Opened, resident_bytes
from clearsight.serve.models import Model


def opener(
    workers: int, engine: str | None, max_drop: float, embed: bool = False
) -> Callable[[Model], Opened]:
    """Return what opens a service's models.

    Args:
        workers: threads that will call each model at the same time.
        engine: the only engine to use; the fastest of those installed where None.
        max_drop: points of accuracy that a faster variant may have lost.
        embed: feature vectors will be asked for too.
    """

    def open_model(model: Model) -> Opened:
        bundle = model.bundle()
        choice = fastest(bundle, workers, max_drop, engine)
        threads = max(1, cores() // workers)
        ENGINES.load(choice.engine)  # its library is not what this model takes
        gc.collect()
        before = resident_bytes()
        predictor = open_predictor(
            bundle, choice.engine, threads, variant=choice.variant or None, embed=embed
        )
        if not model.checked:
            verify_golden(predictor)
            model.checked = True
        shape = predictor.preprocessing
        blank = np.zeros((1, shape.height, shape.width, shape.channels), np.uint8)
        for count in {1, choice.batch}:
            predictor.recognized(np.repeat(blank, count, 0), embed)
        grown = resident_bytes() - before
        return Opened(predictor, choice.engine, choice.variant, choice.batch, choice.run_s, grown)

    return open_model
