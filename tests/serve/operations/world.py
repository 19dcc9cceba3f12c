"""A small world with pictures and a recognizer, all of numpy: its changes are known exactly."""

import numpy as np

from clearsight.core.calibration import softmax

CLASSES, SIZE, DIMENSION = 6, 12, 96


class World:
    """Noisy pictures of six patterns, and a fixed network that tells them apart."""

    def __init__(self, seed=0):
        draw = np.random.default_rng(seed)
        self.patterns = draw.uniform(70, 185, (CLASSES, SIZE, SIZE, 3))
        pixels = SIZE * SIZE * 3
        self.first = draw.normal(0, 1 / np.sqrt(pixels), (pixels, DIMENSION))
        images, labels = self.pictures(2000, draw)
        features = self.embed(images)
        targets = np.eye(CLASSES)[labels] * 8 - 2
        self.second = np.linalg.lstsq(features, targets, rcond=None)[0]

    def pictures(self, n, draw, shares=None, brighter=0.0, noise=0.0):
        labels = draw.choice(CLASSES, n, p=shares)
        light = draw.normal(0, 8, (n, 1, 1, 1))
        images = self.patterns[labels] + light + draw.normal(0, 45, (n, SIZE, SIZE, 3))
        images = images + brighter + draw.normal(0, 1, images.shape) * noise
        return np.clip(images, 0, 255).astype(np.uint8), labels

    def embed(self, images):
        flat = images.reshape(len(images), -1) / 64.0 - 2.0
        return np.maximum(flat @ self.first, 0).astype(np.float32)

    def answers(self, images):
        """Return probabilities and embeddings."""
        embeddings = self.embed(images)
        return softmax(embeddings @ self.second), embeddings
