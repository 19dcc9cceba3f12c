"""Spatter: drops of water or mud on the lens."""

from __future__ import annotations

import cv2
import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.blur import gaussian
from clearsight.robust.distortion import distortion
from clearsight.robust.pictures import Floats, Random, each
from clearsight.robust.published import published

# mean and spread of the liquid, its smoothness, the threshold, strength, 1 for mud
SIDE_32 = (
    (0.62, 0.1, 0.7, 0.7, 0.5, 0),
    (0.65, 0.1, 0.8, 0.7, 0.5, 0),
    (0.65, 0.3, 1, 0.69, 0.5, 0),
    (0.65, 0.1, 0.7, 0.69, 0.6, 1),
    (0.65, 0.1, 0.5, 0.68, 0.6, 1),
)
SIDE_64 = (
    (0.62, 0.1, 0.7, 0.7, 0.6, 0),
    (0.65, 0.1, 0.8, 0.7, 0.6, 0),
    (0.65, 0.3, 1, 0.69, 0.6, 0),
    (0.65, 0.1, 0.7, 0.68, 0.6, 1),
    (0.65, 0.1, 0.5, 0.67, 0.6, 1),
)
SIDE_224 = (
    (0.65, 0.3, 4, 0.69, 0.6, 0),
    (0.65, 0.3, 3, 0.68, 0.6, 0),
    (0.65, 0.3, 2, 0.68, 0.5, 0),
    (0.65, 0.3, 1, 0.65, 1.5, 1),
    (0.67, 0.4, 1, 0.65, 1.5, 1),
)
WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
LUMA = (0.299, 0.587, 0.114)
SHINE = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32)


@distortion("Spatter", group="extra", uneven="published so: water up to severity 3, mud from 4 on")
def spatter(images_nhwc: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
    """Put drops on a picture: turquoise and shining (water), from severity 4 on brown (mud)."""
    mean, spread, smooth, threshold, strength, mud = published(
        images_nhwc, severity, SIDE_32, SIDE_64, SIDE_224
    )
    colour = np.array(MUD if mud else WATER, np.float32)
    if images_nhwc.shape[3] == 1:
        colour = np.array([colour @ np.array(LUMA, np.float32)], np.float32)

    def change(picture: Floats, random: Random) -> Floats:
        liquid = random.standard_normal(picture.shape[:2], np.float32)
        liquid = gaussian(liquid * np.float32(spread) + np.float32(mean), smooth)
        liquid[liquid < threshold] = 0
        if mud:
            covered = gaussian((liquid > threshold).astype(np.float32), strength)[..., None]
            covered[covered < 0.8] = 0
            return np.asarray(picture * (1 - covered) + covered * colour, dtype=np.float32)
        picture += np.float32(strength) * _shine(liquid)[..., None] * colour
        return picture

    return each(images_nhwc, seed, change)


def _shine(liquid: Floats) -> Floats:
    """Return how much light each point of a layer of drops throws back, at most 1."""
    drops = np.clip(liquid * 255, 0, 255).astype(np.uint8)
    away = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    near = cv2.blur(np.minimum(away, np.float32(20)), (3, 3)).astype(np.uint8)
    edges = cv2.filter2D(cv2.equalizeHist(near), cv2.CV_8U, SHINE)
    light = drops * cv2.blur(edges, (3, 3)).astype(np.float32)
    return np.asarray(light / max(float(light.max()), 1e-6), dtype=np.float32)
