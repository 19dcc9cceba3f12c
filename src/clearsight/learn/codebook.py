"""What an encoder learns from a sample of the training pictures' local descriptors."""

from __future__ import annotations

import time

import numpy as np

from clearsight.core.seeds import generator
from clearsight.learn.descriptors import Descriptor
from clearsight.learn.encoders import Encoder, Learnt
from clearsight.learn.family import Job
from clearsight.learn.feature_graph import points_model
from clearsight.learn.features import extract, subsample

SAMPLE_BYTES = 64 * 2**20
SAMPLE_PICTURES = 2000
SAMPLE_VECTORS = 30_000
FLAT = 0.25
"""Descriptors shorter than this (whole ones have length 1) come from flat regions."""
SHARE_OF_TIME = 0.15


def learn_codebook(key: str, descriptor: Descriptor, encoder: Encoder, job: Job) -> Learnt:
    """Return what the encoder learns; the same every time, except when the time runs out.

    Args:
        key: of the descriptor.
        descriptor: a local one.
        encoder: what learns.
        job: pictures, seed, time and where to keep features.
    """
    model = points_model(descriptor, job.preprocessing)
    length = descriptor.length(job.preprocessing)
    picture_bytes = 4 * length * len(descriptor.points(job.preprocessing))
    many = max(len(job.classes), min(SAMPLE_PICTURES, SAMPLE_BYTES // picture_bytes))
    rows = subsample(job.train_labels, many, job.seed)
    runner = job.open_model(model)
    name = f"{key}-points"
    found = extract(runner, model, job.train_images, rows, job.work, name, job.progress).features
    vectors = found.reshape(-1, length)
    whole = np.flatnonzero(np.linalg.norm(vectors, axis=1) > FLAT)
    if len(whole) == 0:
        whole = np.arange(len(vectors))
    if len(whole) > SAMPLE_VECTORS:
        order = generator(job.seed, name).permutation(len(whole))
        whole = np.sort(whole[order[:SAMPLE_VECTORS]])
    left_s = job.budget.remaining_s()
    deadline = None if left_s == float("inf") else time.monotonic() + SHARE_OF_TIME * left_s
    return encoder.learn(np.ascontiguousarray(vectors[whole]), job.seed, deadline)
