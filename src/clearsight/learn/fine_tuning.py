"""Fine-tunes a pre-trained timm model in stages: the head first, then layers as time allows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clearsight.core.nouns import ImagesNHWC, Scores
from clearsight.core.seeds import derive_seed
from clearsight.learn.augment import build_augment
from clearsight.learn.export import export_onnx
from clearsight.learn.family import Job
from clearsight.learn.features import extract, subsample
from clearsight.learn.fine_tuning_stages import (
    TIMED_PICTURES,
    Head,
    Stage,
    changes_of,
    frozen,
    noted,
    top_network,
)
from clearsight.learn.heads._linear import FittedLinear
from clearsight.learn.heads.logistic import Logistic
from clearsight.learn.networks.cut import Cut, LowerPart, upper_part
from clearsight.learn.networks.timm_network import TimmNetwork
from clearsight.learn.onnx_graph import EMBEDDING
from clearsight.learn.trainers.gradient import score_network, train_network
from clearsight.learn.trainers.recipe import Recipe
from clearsight.learn.training import Choice

HEAD_SHARE = 0.25
"""Part of the time that the pass over the pictures for the head may take."""
BLEND_SHARE, BLEND_LIMIT = 0.08, 1000
BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)


def start_head(network: TimmNetwork, job: Job) -> Head | None:
    """Set the model's classifier to a logistic regression on its own frozen features.

    Args:
        network: its classifier is changed in place.
        job: gives pictures; part of them is used where time is short.

    Returns:
        None where the model's classifier is not one linear layer on its embedding, or the task
        is not one label a picture: the classifier then starts at random.

    Source:
        Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform
        Out-of-Distribution (2022): head first, then all layers.
    """
    classifier = network.model.get_classifier()
    if job.task == "multi-label" or not isinstance(classifier, nn.Linear):
        return None
    model = export_onnx(network, job.preprocessing, (EMBEDDING,))
    runner = job.open_model(model)
    began = time.monotonic()
    seen = len(runner.run(job.train_images[:TIMED_PICTURES], (EMBEDDING,))[EMBEDDING])
    began = time.monotonic()
    width = runner.run(job.train_images[:TIMED_PICTURES], (EMBEDDING,))[EMBEDDING].shape[1]
    each_s = (time.monotonic() - began) / seen
    if width != classifier.in_features:
        return None
    most = noted(job, "head", lambda: int(HEAD_SHARE * min(job.budget.remaining_s(), 1e9) / each_s))
    rows = subsample(job.train_labels, max(20 * len(job.classes), most), job.seed)
    val_rows = subsample(job.val_labels, max(20 * len(job.classes), most // 4), job.seed)
    train = extract(runner, model, job.train_images, rows, job.work, "head", job.progress)
    val = extract(runner, model, job.val_images, val_rows, job.work, "head-val", job.progress)
    fitted = Logistic(Logistic.Config()).fit(
        (train.features, job.train_labels[rows]),
        (val.features, job.val_labels[val_rows]),
        len(job.classes),
        job.seed,
        job.budget.deadline,
        job.progress,
    )
    _set_classifier(classifier, fitted)
    right = fitted.scores(val.features).argmax(1) == job.val_labels[val_rows]
    return Head(float(right.mean()), each_s)


def _set_classifier(classifier: nn.Linear, fitted: FittedLinear) -> None:
    """Classes without a picture keep a score as low as the lowest bias."""
    labels = torch.from_numpy(np.asarray(fitted.present.labels))
    with torch.no_grad():
        classifier.weight.zero_()
        classifier.weight[labels] = torch.from_numpy(np.ascontiguousarray(fitted.head.weight.T))
        bias = torch.from_numpy(np.asarray(fitted.head.bias))
        classifier.bias.fill_(float(bias.min()))
        classifier.bias[labels] = bias


def train_last(network: TimmNetwork, job: Job, stage: Stage, recipe: Recipe) -> dict[str, Any]:
    """Train the layers above a cut on maps that are computed once; return the story.

    Args:
        network: changed in place.
        job: its pictures are turned into maps.
        stage: where to cut and how many views of each picture to keep.
        recipe: of the training; its augmentation makes the views.
    """
    side, cut = job.preprocessing.height, stage.cut
    assert cut is not None
    upper = upper_part(network.model.eval(), cut, side)
    assert upper is not None
    model = export_onnx(LowerPart(network, cut), job.preprocessing, (EMBEDDING,))
    runner = job.open_model(model)
    channels, height, width = cut.shape

    def maps(images: ImagesNHWC, name: str) -> NDArray[Any]:
        rows = np.arange(len(images))
        found = extract(runner, model, images, rows, job.work, name, job.progress).features
        return found.reshape(len(images), height, width, channels).astype(np.float16)

    views = _views(job, changes_of(job, recipe))
    train = [maps(next(views), f"view-{number}") for number in range(stage.views)]
    epochs = job.budget.epochs
    on_maps = replace(
        job,
        train_images=np.concatenate(train),
        train_labels=np.concatenate([job.train_labels] * stage.views),
        val_images=maps(np.asarray(job.val_images), "val-maps"),
        budget=replace(job.budget, epochs=None if epochs is None else epochs / stage.views),
        training=job.training.model_copy(update={"augment": None}),
        work=job.work / "last",
    )
    top = top_network(upper)
    story = train_network(top, _earlier(on_maps), replace(recipe, augment=()))
    upper.eval()
    blend = _blend(top, network.model, upper, on_maps)
    network.model.load_state_dict({**network.model.state_dict(), **upper.state_dict()})
    return {**story, "epochs": story["epochs"] * stage.views, "blend": blend}


def train_all(
    network: TimmNetwork, job: Job, recipe: Recipe, cut: Cut | None = None
) -> dict[str, Any]:
    """Train every layer that needs gradients, or those above a cut; return the story."""
    start = {name: value.clone() for name, value in network.model.state_dict().items()}
    with frozen(network.model, cut):
        story = train_network(network, _earlier(job), recipe)
    return {**story, "blend": _blend(network, start, network.model, job)}


def _views(job: Job, choices: Sequence[Choice]) -> Any:
    """Yield the training pictures, first as they are, then changed again and again."""
    images = np.asarray(job.train_images)
    yield images
    chain = build_augment(choices, job)
    epoch = 0
    while chain is not None:
        epoch += 1
        changed = np.empty_like(images)
        random = torch.Generator().manual_seed(derive_seed(job.seed, "views", epoch))
        for first in range(0, len(images), 256):
            rows = slice(first, min(first + 256, len(images)))
            numbers = torch.arange(rows.start, rows.stop)
            part = torch.from_numpy(np.array(images[rows]))
            changed[rows] = chain(part, numbers, epoch, random).numpy()
        yield changed


def _earlier(job: Job) -> Job:
    """Keep time back for blending."""
    kept_s = BLEND_SHARE * max(0.0, job.budget.remaining_s())
    return replace(job, budget=job.budget.earlier(kept_s))


def _blend(network: TimmNetwork, start: Any, tuned: nn.Module, job: Job) -> dict[str, float] | None:
    """Set weights between the start (0) and the tuned ones (1) by validation; return its scores.

    Source:
        Wortsman et al., Robust Fine-Tuning of Zero-Shot Models (2022), section 3.
    """
    before = start if isinstance(start, dict) else start.state_dict()
    after = {name: value.clone() for name, value in tuned.state_dict().items()}
    rows = subsample(job.val_labels, BLEND_LIMIT, job.seed) if job.val_labels.ndim == 1 else None
    if rows is None or not len(rows):
        return None
    images, labels = job.val_images[rows], job.val_labels[rows]
    ranks: dict[float, tuple[float, float]] = {}
    each_s = 0.0
    for share in sorted(BLENDS, key=lambda share: (share not in (0.0, 1.0), -share)):
        if ranks and job.budget.remaining_s() < 2 * each_s:
            break
        began = time.monotonic()
        tuned.load_state_dict(_between(before, after, share))
        ranks[share] = _rank(score_network(network, images), labels)
        each_s = time.monotonic() - began
    best = max(ranks, key=lambda share: (ranks[share], share))
    tuned.load_state_dict(_between(before, after, best))
    return {"tuned_share": best, **{f"accuracy_{s:g}": ranks[s][0] for s in sorted(ranks)}}


def _between(
    before: dict[str, Tensor], after: dict[str, Tensor], share: float
) -> dict[str, Tensor]:
    return {
        name: torch.lerp(before[name], value, share) if value.is_floating_point() else value
        for name, value in after.items()
    }


def _rank(scores: Scores, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Accuracy, then minus the mean cross-entropy."""
    logits = torch.from_numpy(scores)
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(np.array(labels)))
    return float((scores.argmax(1) == labels).mean()), -float(loss)
