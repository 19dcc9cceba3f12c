"""The gate before a Bundle is written: from a file's bytes to its label, every engine agrees.

Real pictures of the validation part, and variants of them as the world sends them (turned by
EXIF, CMYK, grey, with alpha, 16-bit, 1:8), are followed through the staged Bundle. Every variant
has a plain twin with the same pixels by construction, so decoding is checked, not assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clearsight.core.agreement import MIN_SAME_LABEL, Agreement, agreement
from clearsight.core.bundle import Bundle
from clearsight.core.calibration import probabilities
from clearsight.core.errors import ClearsightError, GateError
from clearsight.core.nouns import ImageHWC, ImagesNHWC, Predictor, Scores
from clearsight.data.decode import decode
from clearsight.data.preprocess import prepare
from clearsight.learn.picture_variants import picture_variants

VARIED_PICTURES = 3
"""Pictures of which variants are made; each gives about eight."""
WHAT_TO_DO = (
    "No Bundle was written. The exported model is not the one that was trained: train with "
    "another --model, and report this with the figures above."
)


@dataclass(frozen=True)
class _Case:
    """One picture to follow: where it comes from, its bytes and the pixels it must become."""

    kind: str
    encoded: bytes
    pixels: ImageHWC


def check_parity(
    staged: Bundle,
    reference: Callable[[ImagesNHWC], Scores],
    encoded: Sequence[bytes],
    trained_pixels: ImagesNHWC,
    openers: Mapping[str, Callable[[Bundle], Predictor]],
    max_pictures: int = 256,
) -> dict[str, Any]:
    """Refuse a Bundle that does not answer as the model that was trained.

    Args:
        staged: the finished Bundle under its temporary name.
        reference: prepared pictures -> logits of the model as trained, not as exported.
        encoded: original files of the validation part.
        trained_pixels: (n, h, w, c) uint8, what the trainer saw for the same files.
        openers: by engine name, opens the Bundle.
        max_pictures: how many originals are followed at most.

    Returns:
        JSON-ready figures: `pictures`, `variants`, and by engine `same_label`, `max_difference`.

    Raises:
        GateError: other pixels, labels or probabilities, an engine that cannot run the model,
            or nothing to check with.
    """
    if not encoded or not openers:
        raise GateError("The parity gate needs at least one validation picture and one engine.")
    _check_shape(staged, trained_pixels)
    cases = list(_cases(staged, encoded[:max_pictures], trained_pixels[:max_pictures]))
    pixels = np.stack([case.pixels for case in cases])
    logits = _finite(reference(pixels))
    told = staged.manifest
    wanted = probabilities(logits, told.temperature, told.task, told.vector)
    figures = {
        name: _check_engine(name, open_predictor, staged, cases, wanted)
        for name, open_predictor in openers.items()
    }
    varied = sum(case.kind != "original" for case in cases)
    return {
        "pictures": len(cases) - varied,
        "variants": varied,
        "engines": {
            name: {"same_label": seen.same_label, "max_difference": seen.max_difference}
            for name, seen in figures.items()
        },
    }


def _check_shape(staged: Bundle, trained: ImagesNHWC) -> None:
    wanted = staged.manifest.preprocessing
    shape = (wanted.height, wanted.width, wanted.channels)
    if trained.shape[1:] != shape:
        raise GateError(
            f"The Bundle prepares pictures of shape {shape}, training used {trained.shape[1:]}. "
            f"{WHAT_TO_DO}"
        )


def _cases(staged: Bundle, encoded: Sequence[bytes], trained: ImagesNHWC) -> Iterator[_Case]:
    for content, pixels in zip(encoded, trained, strict=True):
        yield _Case("original", content, pixels)
    preprocessing = staged.manifest.preprocessing
    for content in encoded[:VARIED_PICTURES]:
        for variant in picture_variants(decode(content), preprocessing):
            pixels = prepare(variant.twin, preprocessing)
            yield _Case(variant.kind, variant.encoded, pixels)


def _check_engine(
    name: str,
    open_predictor: Callable[[Bundle], Predictor],
    staged: Bundle,
    cases: Sequence[_Case],
    wanted: Scores,
) -> Agreement:
    try:
        predictor = open_predictor(staged)
        prepared = [predictor.prepare(case.encoded) for case in cases]
        _check_pixels(name, cases, prepared)
        got = predictor.probabilities(np.stack(prepared))
    except GateError:
        raise
    except ClearsightError as error:
        raise GateError(f"The engine {name} cannot run the model: {error} {WHAT_TO_DO}") from error
    if got.shape != wanted.shape:
        raise GateError(
            f"The engine {name} gives scores of shape {got.shape}, the trained model "
            f"{wanted.shape}. {WHAT_TO_DO}"
        )
    seen = agreement(wanted, got, staged.manifest.steps)
    if not seen.holds:
        raise GateError(
            f"The engine {name} disagrees with the trained model on {seen.n} pictures: same label "
            f"for {seen.same_label:.1%} (needed {MIN_SAME_LABEL:.1%}), probabilities off by up to "
            f"{seen.max_difference:.2g} (allowed {seen.allowed:g}). {WHAT_TO_DO}"
        )
    _check_names(name, predictor, staged, cases, wanted, seen.allowed)
    return seen


def _check_pixels(name: str, cases: Sequence[_Case], prepared: Sequence[ImageHWC]) -> None:
    for case, pixels in zip(cases, prepared, strict=True):
        off = int(np.abs(pixels.astype(np.int16) - case.pixels).max())
        if off:
            raise GateError(
                f"The Bundle prepares another picture than training did ({name}, {case.kind} "
                f"picture, pixels off by up to {off} of 255). {WHAT_TO_DO}"
            )


def _check_names(
    name: str,
    predictor: Predictor,
    staged: Bundle,
    cases: Sequence[_Case],
    wanted: Scores,
    allowed: float,
) -> None:
    """Follow a few pictures from bytes to the label a user sees."""
    for case, row in list(zip(cases, wanted, strict=True))[-VARIED_PICTURES:]:
        label = predictor.recognize(case.encoded, top=1).label
        place = staged.manifest.classes.index(label)
        if row.max() - row[place] > allowed:
            best = staged.manifest.classes[int(row.argmax())]
            raise GateError(
                f"The engine {name} calls a {case.kind} picture {label!r}, the trained model "
                f"{best!r}. {WHAT_TO_DO}"
            )


def _finite(logits: Scores) -> Scores:
    if not np.isfinite(logits).all():
        raise GateError(
            "The trained model gives NaN or infinity: the training diverged. No Bundle was "
            "written. Train again with a lower learning rate or another --seed."
        )
    return logits
