"""Run by test_learn_gradient_resume.py in a process of its own, to be killed.

Usage: gradient_worker.py WORK OUT RECIPE. Prints one line a step; writes the weights' digest to
OUT.
"""

import hashlib
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clearsight.core.nouns import Preprocessing
from clearsight.learn.family import Budget, Job
from clearsight.learn.networks.compact_network import CompactNetwork
from clearsight.learn.trainers import _clock
from clearsight.learn.trainers.gradient import Recipe, train_network
from clearsight.learn.training import Choice
from clearsight.testing.toy_pictures import CLASSES, toy_pictures


class Lines:
    def start(self, task, total, unit):
        pass

    def advance(self, amount, note=""):
        print("step", flush=True)
        time.sleep(0.005)

    def finish(self):
        pass

    def say(self, event, **fields):
        print(f"say {event} {fields}", flush=True)


class Quiet(Lines):
    def advance(self, amount, note=""):
        pass

    def say(self, event, **fields):
        pass


def make_job(work, budget, progress):
    size = Preprocessing(height=24, width=24, channels=1)
    train, val = toy_pictures(size, 20, seed=1), toy_pictures(size, 10, seed=2)
    return Job(*train, *val, CLASSES, size, 3, budget, work, lambda model: None, progress)


def make_network(job, width=16):
    torch.manual_seed(job.seed)
    network = CompactNetwork(1, 3, stem_stride=2, widths=[width] * 2, residuals=1, mirrored=True)
    network.whiten(job.train_images)
    return network


RECIPE = Recipe(
    lr=0.03,
    optimizer="muon",
    weight_decay=0.01,
    batch_size=16,
    augment=[Choice.of("shift-flip", shift=2, mirror=True)],
)
RECIPES = {
    "plain": RECIPE,
    "averaged": replace(
        RECIPE,
        batch_size=8,
        accumulate=2,
        averaging="ema",
        mix="mixup",
        sampler="balanced",
        schedule="cosine",
        clip=1.0,
    ),
    "sgd-swa": replace(
        RECIPE, lr=0.1, optimizer="sgd", averaging="swa", mix="cutmix", loss="focal"
    ),
    "timm": replace(RECIPE, lr=0.01, optimizer="timm:lamb"),
}


def digest(network):
    state = network.state_dict()
    arrays = [np.ascontiguousarray(state[name].numpy()).tobytes() for name in sorted(state)]
    return hashlib.sha256(b"".join(arrays)).hexdigest()


if __name__ == "__main__":
    torch.set_num_threads(1)
    _clock.CHECKPOINT_S, _clock.CHECKPOINT_COST = 0.0, 1e9  # one every step
    job = make_job(Path(sys.argv[1]), Budget(epochs=12), Lines())
    network = make_network(job)
    train_network(network, job, RECIPES[sys.argv[3]])
    Path(sys.argv[2]).write_text(digest(network))
