"""Frost: ice crystals on the lens. The published photographs of ice are replaced by drawn ones."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.blur import gaussian, motion
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

# weight of the picture, weight of the ice
SIDE_32 = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
SIDE_64 = ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55))
SIDE_224 = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
# mean red, green and blue, and spread of grey, of the five photographs of the published programs
SHEETS = (
    (0.305, 0.585, 0.650, 0.070),
    (0.787, 0.805, 0.841, 0.086),
    (0.787, 0.805, 0.841, 0.086),
    (0.540, 0.599, 0.648, 0.113),
    (0.441, 0.484, 0.528, 0.169),
)
LARGEST_SHEET = 1024
LUMA = (0.299, 0.587, 0.114)


@distortion(
    "Frost",
    group="published",
    uneven="published so: more ice with every severity, but the picture under it is darkened too",
)
def frost(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Lay a random piece of a sheet of ice over a picture and darken the picture itself.

    The weights are the published ones. The sheets are drawn: veins and needles of ice, with the
    mean colour and spread measured on the photographs that the published data sets were made
    with, which are not ours to ship.
    """
    kept, ice = published(images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224)
    height, width, channels = images_nhwc.shape[1:]
    side = min(LARGEST_SHEET, max(64, 2 * max(height, width)))

    def change(picture: Floats, random: Random) -> Floats:
        sheet = _sheet(int(random.integers(len(SHEETS))), side)
        down, across = random.random(2)
        if max(height, width) >= side:  # a picture larger than any sheet: one is enlarged
            piece = cv2.resize(sheet, (width, height))
        else:
            top, left = int(down * (side - height)), int(across * (side - width))
            piece = sheet[top : top + height, left : left + width]
        if channels == 1:
            piece = (piece @ np.array(LUMA, np.float32))[..., None]
        picture *= np.float32(kept)
        picture += np.float32(ice) * piece
        return picture

    return each(images_nhwc, seed, change)


@lru_cache(maxsize=2 * len(SHEETS))
def _sheet(number: int, side: int) -> Floats:
    """Return a sheet of ice (side, side, 3) float32 in [0, 1]; the same for the same number."""
    random = np.random.Generator(np.random.PCG64([number, side]))
    veins = np.zeros((side, side), np.float32)
    for octave in range(2, 7):
        cells = min(side, 2**octave)
        noise = random.standard_normal((cells, cells), np.float32)
        smooth = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
        veins += np.float32(0.7**octave) * (1 - np.abs(smooth))
    needles = np.zeros_like(veins)
    for angle in random.uniform(0, 360, 6):
        seeds = (random.random(veins.shape, np.float32) > 0.995).astype(np.float32)
        length = max(2, side // 24)
        needles += motion(seeds, length, length / 2, float(angle))
    ice = _standard(veins) + _standard(gaussian(needles, 0.7))
    *mean, spread = SHEETS[number]
    ice = _standard(np.tanh(_standard(ice) / 2)) * np.float32(spread)
    sheet: Floats = np.clip(ice[..., None] + np.array(mean, np.float32), 0, 1).astype(np.float32)
    return sheet


def _standard(field: Floats) -> Floats:
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6), dtype=np.float32)
