"""What a service says about its models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clearsight.client.errors import AnswerError


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model that a service answers for.

    Args:
        name: what requests call it.
        version: the Bundle's id.
        task: what a label is, see `core.nouns.Task`.
        classes: class names.
        height, width, channels: the model's input.
    """

    name: str
    version: str
    task: str
    classes: tuple[str, ...]
    height: int
    width: int
    channels: int


def read_models(value: Any) -> list[ServedModel]:
    """Read the answer of GET /v1/models; fields that are not known here are left aside.

    Raises:
        AnswerError: it is no such answer.
    """
    try:
        return [
            ServedModel(
                name=str(item["name"]),
                version=str(item["version"]),
                task=str(item["task"]),
                classes=tuple(str(name) for name in item["classes"]),
                height=int(item["input"]["height"]),
                width=int(item["input"]["width"]),
                channels=int(item["input"]["channels"]),
            )
            for item in value["models"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerError("The service's list of models cannot be read.") from error
