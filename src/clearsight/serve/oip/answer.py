"""Predictions as output tensors, and output tensors as Predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from clearsight.core.errors import nearest
from clearsight.core.nouns import Prediction, Task
from clearsight.serve.errors import ImpossibleRequestError
from clearsight.serve.oip.tensors import BYTES, Content, Tensor

OUTPUTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "label": (BYTES, (-1, -1)),
    "score": ("FP32", (-1, -1)),
    "accepted": ("BOOL", (-1,)),
}
"""Datatype and shape of what every model gives; the axes are the pictures and the labels."""
SET = {"set": (BYTES, (-1,))}
"""A picture's conformal set as a JSON list; `null` of a model without. It has any length, so it
is no tensor of its own and holds classes beyond those that were asked for."""
OUTPUTS_OF_TASK: dict[Task, dict[str, tuple[str, tuple[int, ...]]]] = {
    "single-label": {**SET},
    "multi-label": {"present": ("BOOL", (-1, -1))},
    "ordinal": {"rank": ("FP64", (-1,)), **SET},
}


def outputs_of(task: Task) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return datatype and shape of every output of a model, by name."""
    return OUTPUTS | OUTPUTS_OF_TASK[task]


def check_outputs(names: Sequence[str], task: Task) -> None:
    """Pass when a model has these outputs.

    Raises:
        ImpossibleRequestError: an unknown name.
    """
    known = outputs_of(task)
    for name in names:
        if name not in known:
            raise ImpossibleRequestError(
                f"There is no output {name[:80]!r}.{nearest(name[:80], known)}"
            )


def tensors_of(
    predictions: Sequence[Prediction], task: Task, names: Sequence[str] = ()
) -> list[Tensor]:
    """Return Predictions as tensors.

    Args:
        predictions: one a picture, all of the same model and the same number of labels.
        task: of the model.
        names: which outputs, in order; all of them where empty.

    Returns:
        Tensors with flat `values`: text for `label` and `set`, floats for `score` and `rank`,
        else bools.
    """
    count, labels = len(predictions), len(predictions[0].labels)
    tensors = []
    for name in names or outputs_of(task):
        datatype, axes = outputs_of(task)[name]
        shape = (count, labels)[: len(axes)]
        tensors.append(Tensor(name, datatype, shape, values=_values(name, predictions)))
    return tensors


def prediction_of(values: Mapping[str, Content]) -> Prediction:
    """Return the Prediction of one picture.

    Args:
        values: flat values by output, text for `label` and `set`; from an answer to one picture.
    """
    labels = tuple(str(label) for label in values["label"])
    present, rank, likely = None, None, None
    if "present" in values:
        pairs = zip(labels, values["present"], strict=True)
        present = tuple(label for label, is_there in pairs if is_there)
    if "rank" in values:
        rank = float(values["rank"][0])
    if "set" in values and (names := json.loads(str(values["set"][0]))) is not None:
        likely = tuple(str(name) for name in names)
    scores = tuple(float(score) for score in values["score"])
    return Prediction(labels, scores, bool(values["accepted"][0]), present, rank, likely)


def _values(name: str, predictions: Sequence[Prediction]) -> Content:
    match name:
        case "label":
            return [label for one in predictions for label in one.labels]
        case "score":
            return [float(score) for one in predictions for score in one.scores]
        case "accepted":
            return [bool(one.accepted) for one in predictions]
        case "present":
            return [label in (one.present or ()) for one in predictions for label in one.labels]
        case "set":
            return [json.dumps(one.set, ensure_ascii=False) for one in predictions]
        case _:
            return [0.0 if one.rank is None else one.rank for one in predictions]
