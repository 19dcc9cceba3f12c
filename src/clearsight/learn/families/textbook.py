"""The textbook network that everybody starts with: the baseline."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from clearsight.core.config import Config
from clearsight.core.nouns import TASKS, Preprocessing
from clearsight.core.seeds import derive_seed
from clearsight.learn.family import Capabilities, Facts, Job
from clearsight.learn.fitted_network import FittedNetwork
from clearsight.learn.networks.input_size import input_size
from clearsight.learn.trainers.gradient import Recipe, train_network

SMALLEST_SIDE = 12  # below it nothing is left after two unpadded convolutions and poolings


class TextbookConfig(Config):
    """Options of the textbook network.

    Args:
        side: longest side of the model's input in pixels; larger pictures are shrunk.
        max_epochs: most passes under a time budget.
    """

    side: int = Field(default=64, ge=SMALLEST_SIDE, le=256)
    max_epochs: int = Field(default=30, ge=1)


class Textbook:
    """conv 32, pool, conv 64, pool, dense 64, dense; Adam, cross-entropy, no augmentation.

    Args:
        config: its options.

    Source:
        TensorFlow's tutorial "Convolutional Neural Network (CNN)" and Keras's MNIST example.
    """

    Config: ClassVar[type[Config]] = TextbookConfig
    capabilities: ClassVar[Capabilities] = Capabilities(gradients=True, tasks=TASKS)

    def __init__(self, config: TextbookConfig) -> None:
        self.config = config

    def preprocessing(self, facts: Facts) -> Preprocessing:
        """Return the pictures' own shape within bounds; grey if all are grey."""
        height, width = input_size(facts, SMALLEST_SIDE, self.config.side)
        return Preprocessing(height=height, width=width, channels=1 if facts.grey else 3)

    def fit(self, job: Job) -> FittedNetwork:
        """Train within the budget; see `train_network`."""
        torch.manual_seed(derive_seed(job.seed, "weights"))
        size = job.preprocessing
        network = _TextbookNetwork(size.channels, size.height, size.width, len(job.classes))
        recipe = Recipe(
            lr=1e-3,
            optimizer="adam",
            batch_size=32,
            schedule="constant",
            max_epochs=self.config.max_epochs,
        )
        story = train_network(network, job, recipe)
        return FittedNetwork(network, size, story)


class _TextbookNetwork(nn.Module):
    def __init__(self, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        left = [((size - 2) // 2 - 2) // 2 for size in (height, width)]
        self.dense = nn.Sequential(
            nn.Flatten(), nn.Linear(64 * left[0] * left[1], 64), nn.ReLU(), nn.Linear(64, classes)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.dense(self.convs(pixels / 255))
        return scores
