"""A network in NumPy that knows coloured patches, with every kind of insight an explainer needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearsight.core.errors import UsageError
from clearsight.core.nouns import (
    Cotangent,
    Gradient,
    ImagesNHWC,
    PixelsNHWC,
    Preprocessing,
    Scores,
)
from clearsight.core.seeds import generator
from clearsight.explain.subject import Subject, evidence_from_gradients

HEIGHT, WIDTH, CELL, PATCH = 48, 64, 4, 16
COLOURS = ("red", "green", "blue")
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ColourPatchNetwork:
    """Finds colours cell by cell, averages twice, weights; implements `Differentiable`.

    Args:
        colours: (3, 3) what each channel looks for.
        threshold: (3,) what it takes to see it.
        head: (3, 3) channels -> classes.
    """

    colours: Floats
    threshold: Floats
    head: Floats

    @property
    def classes(self) -> Sequence[str]:
        """The three colours."""
        return COLOURS

    @property
    def preprocessing(self) -> Preprocessing:
        """48 x 64 pixels, not square on purpose."""
        return Preprocessing(height=HEIGHT, width=WIDTH)

    @property
    def layers(self) -> tuple[str, ...]:
        """The coarse map and the fine one."""
        return ("coarse", "fine")

    def logits(self, pixels_nhwc: PixelsNHWC) -> Scores:
        """Return (n, 3) scores."""
        return self._forward(pixels_nhwc)[3]

    def gradient(
        self, pixels_nhwc: PixelsNHWC, of: Cotangent, layer: str | None = None
    ) -> Gradient:
        """Return gradients, worked out by hand."""
        seen, fine, coarse, logits = self._forward(pixels_nhwc)
        cells = coarse.shape[2] * coarse.shape[3]
        own = (np.asarray(of(logits)) @ self.head.T)[:, :, None, None] / cells
        to_coarse = np.broadcast_to(own, coarse.shape).astype(np.float32)
        if layer == "coarse":
            return Gradient(logits, coarse, to_coarse.copy())
        to_fine: Floats = (_enlarged(to_coarse, 2) / 4).astype(np.float32)
        if layer == "fine":
            return Gradient(logits, fine, to_fine)
        if layer is not None:
            raise UsageError(f"No layer {layer!r}.")
        to_seen = _enlarged(to_fine, CELL) / CELL**2 * (seen > 0)
        slope = np.einsum("nkhw,kc->nhwc", to_seen, self.colours) / 255
        return Gradient(logits, pixels_nhwc, slope.astype(np.float32))

    def attentions(self, pixels_nhwc: PixelsNHWC) -> tuple[Floats, ...]:
        """Return two blocks of two heads that look where the head's channels are strong."""
        fine = self._forward(pixels_nhwc)[1]
        n = len(fine)
        weight = np.abs(self.head).sum(axis=1)
        drawn = np.einsum("nkhw,k->nhw", fine, weight).reshape(n, -1)
        blocks = []
        for sharpness in ((0.5, 2.0), (1.0, 3.0)):
            heads = []
            for factor in sharpness:
                powers = np.exp(factor * (drawn - drawn.max(axis=1, keepdims=True)))
                first = np.concatenate([np.full((n, 1), powers.mean()), powers], axis=1)
                row = first / first.sum(axis=1, keepdims=True)
                heads.append(np.repeat(row[:, None, :], row.shape[1], axis=1))
            blocks.append(np.stack(heads, axis=1).astype(np.float32))
        return tuple(blocks)

    def randomized(self, seed: int) -> ColourPatchNetwork:
        """Return a network that looks for other things."""
        noise = generator(seed, "colour-patch")
        drawn = [noise.normal(size=shape).astype(np.float32) for shape in ((3, 3), (3,), (3, 3))]
        return ColourPatchNetwork(drawn[0], (drawn[1] / 10).astype(np.float32), drawn[2] * 20)

    def _forward(self, pixels: PixelsNHWC) -> tuple[Floats, Floats, Floats, Scores]:
        seen = np.einsum("nhwc,kc->nkhw", pixels / np.float32(255), self.colours)
        seen = seen - self.threshold[:, None, None]
        fine = _shrunk(np.maximum(seen, 0), CELL)
        coarse = _shrunk(fine, 2)
        logits = coarse.mean(axis=(2, 3)) @ self.head
        return seen, fine, coarse, logits.astype(np.float32)


def colour_patch_network() -> ColourPatchNetwork:
    """Return the network that knows red, green and blue patches."""
    colours = np.full((3, 3), -1, np.float32) + 2 * np.eye(3, dtype=np.float32)
    return ColourPatchNetwork(
        colours, np.full(3, 0.2, np.float32), np.eye(3, dtype=np.float32) * 60
    )


def subject_of_network(network: ColourPatchNetwork) -> Subject:
    """Return a network as explainers see it."""
    return Subject(
        network.classes,
        network.preprocessing,
        lambda images: network.logits(images.astype(np.float32)),
        open_live=lambda: network,
        find_evidence=lambda: evidence_from_gradients(network),
    )


def patch_pictures(
    places: Sequence[tuple[int, int]], colours: Sequence[int], seed: int = 0
) -> ImagesNHWC:
    """Return grey noise with one coloured patch of 16 x 16 pixels a picture.

    Args:
        places: (y, x) of each patch's upper left corner.
        colours: 0 for red, 1 for green, 2 for blue.
        seed: of the noise.
    """
    noise = generator(seed, "patch-pictures").integers(90, 160, (len(places), HEIGHT, WIDTH, 1))
    images = np.repeat(noise, 3, axis=3).astype(np.uint8)
    for image, place, colour in zip(images, places, colours, strict=True):
        put_patch(image, place, colour)
    return images


def put_patch(image_hwc: NDArray[np.uint8], place: tuple[int, int], colour: int) -> None:
    """Paint a coloured patch into a picture, in place."""
    y, x = place
    image_hwc[y : y + PATCH, x : x + PATCH] = 20
    image_hwc[y : y + PATCH, x : x + PATCH, colour] = 235


def inside(place: tuple[int, int], patch: tuple[int, int]) -> bool:
    """Whether (y, x) lies in the patch whose corner is given."""
    return all(0 <= at - start < PATCH for at, start in zip(place, patch, strict=True))


def _shrunk(maps: Floats, factor: int) -> Floats:
    n, channels, rows, columns = maps.shape
    parts = maps.reshape(n, channels, rows // factor, factor, columns // factor, factor)
    found: Floats = parts.mean(axis=(3, 5), dtype=np.float32)
    return found


def _enlarged(maps: Floats, factor: int) -> Floats:
    return maps.repeat(factor, axis=2).repeat(factor, axis=3)
