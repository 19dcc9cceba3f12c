"""What every model family in `learn/families/` must satisfy."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clearsight.core.config import Config
from clearsight.core.errors import ConfigError
from clearsight.core.nouns import Preprocessing
from clearsight.engines.open import open_session
from clearsight.learn.family import FAMILIES, Budget, Capabilities, Facts, Job
from clearsight.testing.contract import Contract
from clearsight.testing.planted_families import planted_families
from clearsight.testing.toy_pictures import CLASSES, SIDE, toy_pictures

EPOCHS = 30.0
FACTS = Facts(CLASSES, (20,) * len(CLASSES), SIDE, SIDE, grey=True)


class FamilyContract(Contract):
    """Clauses every family satisfies; an implementation is the family's class."""

    registry = FAMILIES

    def check_builds_from_defaults(self, family: Any) -> None:
        """Constructed from its default configuration, which it keeps; states its capabilities."""
        made = family(family.Config())
        assert made.config == family.Config()
        assert isinstance(made.capabilities, Capabilities)

    def check_config_round_trips(self, family: Any) -> None:
        """Configuration survives JSON and refuses unknown names."""
        config = family.Config()
        assert family.Config.parse(config.model_dump(mode="json")) == config
        assert issubclass(family.Config, Config)
        with pytest.raises(ConfigError):
            family.Config.parse({"no_such_option": 1})

    def check_preprocessing_fits_any_facts(self, family: Any) -> None:
        """Tiny, long, large, grey and colour pictures, two classes or a thousand: a sane input."""
        for height, width, grey in (
            (1, 1, True),
            (8, 8, True),
            (32, 200, False),
            (3000, 40, False),
        ):
            for classes in (2, 1000):
                names = tuple(f"c{number}" for number in range(classes))
                facts = Facts(names, (3,) * classes, height, width, grey)
                got = family(family.Config()).preprocessing(facts)
                assert isinstance(got, Preprocessing)
                assert max(got.height, got.width) <= 1024
                assert got.channels == 3 or grey

    def check_overfits_one_batch(self, family: Any) -> None:
        """Trained on a dozen pictures it knows them all."""
        job, fitted = fit(family, per_class=4)
        assert (fitted.logits(job.train_images).argmax(1) == job.train_labels).all()

    def check_learns_toy_set(self, family: Any) -> None:
        """On unseen pictures of a simple kind at least 9 of 10 are right."""
        job, fitted = fit(family)
        assert (fitted.logits(job.val_images).argmax(1) == job.val_labels).mean() >= 0.9

    def check_same_seed_same_weights(self, family: Any) -> None:
        """Fitted twice with one seed, every array is the same to the bit."""
        first, second = fit(family)[1].weights(), fit(family, again=1)[1].weights()
        assert first
        assert set(first) == set(second)
        assert all(np.array_equal(first[name], second[name]) for name in first)

    def check_exported_scores(self, family: Any) -> None:
        """The ONNX model gives the trained model's scores, in batches and one by one."""
        job, fitted = fit(family)
        session = open_session(fitted.onnx_model(), "onnxruntime")
        images = job.val_images[:5]
        got = session.run(images)["logits"]
        assert got.dtype == np.float32
        assert isinstance(fitted.steps, bool)
        assert np.abs(_softmax(got) - _softmax(fitted.logits(images))).max() <= 1e-3
        for number, row in enumerate(got):
            alone = session.run(images[number : number + 1])["logits"]
            assert np.abs(_softmax(alone) - _softmax(row[None])).max() <= 1e-5

    def check_features_claim(self, family: Any) -> None:
        """`features` is claimed if and only if there is an "embedding"; every output runs."""
        job, fitted = fit(family)
        assert fitted.outputs[0] == "logits"
        assert ("embedding" in fitted.outputs) == family.capabilities.features
        session = open_session(fitted.onnx_model(), "onnxruntime")
        got = session.run(job.val_images[:3], fitted.outputs)
        assert set(got) == set(fitted.outputs)
        assert all(len(value) == 3 for value in got.values())

    def check_pretrained_claim(self, family: Any) -> None:
        """`pretrained` is claimed if and only if the licence of weights is stated."""
        assert bool(fit(family)[1].licences) == family.capabilities.pretrained

    def check_gradients_claim(self, family: Any) -> None:
        """`gradients` is claimed if and only if more epochs give other weights, or more steps.

        (A fine-tuned network may be left as it began where validation prefers that.)
        """
        short, long = fit(family, epochs=1.0)[1], fit(family)[1]
        few, many = short.weights(), long.weights()
        same = all(np.array_equal(few[name], many[name]) for name in few)
        same &= short.story.get("steps") == long.story.get("steps")
        assert same != family.capabilities.gradients

    def check_keeps_its_deadline(self, family: Any) -> None:
        """With a deadline alone it returns by then (a little grace for a busy machine)."""
        seconds = 4.0
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            budget = Budget(deadline=time.monotonic() + seconds)
            family(family.Config()).fit(toy_job(family, Path(folder), budget))
        assert time.monotonic() - started < seconds * 1.5 + 2

    def check_leaves_its_input_alone(self, family: Any) -> None:
        """Pictures and labels are read-only: a family that writes into them fails."""
        with tempfile.TemporaryDirectory() as folder:
            job = toy_job(family, Path(folder), Budget(epochs=1.0))
            for array in (job.train_images, job.train_labels, job.val_images, job.val_labels):
                array.flags.writeable = False
            family(family.Config()).fit(job)

    def broken(self) -> Mapping[str, Any]:  # type: ignore[override]
        """Return one planted violation a clause."""
        return planted_families()


def toy_job(family: Any, work: Path, budget: Budget, per_class: int = 20) -> Job:
    """Return a small job with pictures of the size that the family asks for."""
    size = family(family.Config()).preprocessing(FACTS)
    train_images, train_labels = toy_pictures(size, per_class, seed=1)
    val_images, val_labels = toy_pictures(size, 20, seed=2)
    return Job(
        train_images=train_images,
        train_labels=train_labels,
        val_images=val_images,
        val_labels=val_labels,
        classes=CLASSES,
        preprocessing=size,
        seed=7,
        budget=budget,
        work=work,
        open_model=lambda model: open_session(model, "onnxruntime"),
    )


@lru_cache(maxsize=64)
def fit(
    family: Any, epochs: float = EPOCHS, per_class: int = 20, again: int = 0
) -> tuple[Job, Any]:
    """Fit a family to toy pictures; clauses share the result (`again` asks for another one)."""
    with tempfile.TemporaryDirectory() as folder:
        job = toy_job(family, Path(folder), Budget(epochs=epochs), per_class)
        return job, family(family.Config()).fit(job)


def _softmax(logits: Any) -> Any:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)
