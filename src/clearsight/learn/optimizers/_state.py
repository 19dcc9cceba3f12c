"""The state of steppers as named tensors and JSON-ready scalars, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clearsight.core.errors import ConfigError
from clearsight.learn.optimizers import Stepper

Scalars = dict[str, Any]
PLAIN = (bool, int, float, str, type(None))
IN_GROUPS = {"params", "lr"}  # the weights are the network's, the rate follows from the schedule


def saved(
    steppers: Sequence[Stepper], named: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], Scalars]:
    """Return the state by name: tensors, and numbers of weights and groups.

    Args:
        steppers: what moves the weights.
        named: every weight by its name.

    Raises:
        ConfigError: a part of the state is neither a tensor nor a plain value.
    """
    names = {id(weight): name for name, weight in named.items()}
    tensors: dict[str, Tensor] = {}
    scalars: Scalars = {"weights": {}, "groups": {}}
    for number, stepper in enumerate(steppers):
        for weight, state in stepper.state.items():
            if id(weight) not in names:
                raise _unsaved(stepper, str(weight)[:40], state)
            for key, value in state.items():
                name = f"{number}/{names[id(weight)]}/{key}"
                if isinstance(value, Tensor):
                    tensors[name] = value
                elif isinstance(value, PLAIN):
                    scalars["weights"][name] = value
                else:
                    raise _unsaved(stepper, key, value)
        for position, group in enumerate(stepper.param_groups):
            own = {key: value for key, value in group.items() if key not in IN_GROUPS}
            scalars["groups"][f"{number}/{position}"] = {
                key: value for key, value in own.items() if isinstance(value, PLAIN)
            }
            tensors |= {
                f"{number}/{position}//{key}": value
                for key, value in own.items()
                if isinstance(value, Tensor)
            }
    return tensors, scalars


def restore(
    steppers: Sequence[Stepper],
    named: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    scalars: Scalars,
) -> None:
    """Take over what `saved` gave; tensors of a weight's shape get its memory layout and device."""
    for name, value in tensors.items():
        number, weight_name, *_, key = name.split("/")
        if "//" in name:
            steppers[int(number)].param_groups[int(weight_name)][key] = value.clone()
            continue
        weight = named[weight_name]
        steppers[int(number)].state[weight][key] = _like(value, weight)
    for name, scalar in scalars["weights"].items():
        number, weight_name, key = name.split("/")
        steppers[int(number)].state[named[weight_name]][key] = scalar
    for name, values in scalars["groups"].items():
        number, position = name.split("/")
        steppers[int(number)].param_groups[int(position)].update(values)


def _like(value: Tensor, weight: Tensor) -> Tensor:
    if value.shape == weight.shape and value.ndim:
        return torch.empty_like(weight, dtype=value.dtype).copy_(value)
    return value.clone() if value.ndim == 0 else value.to(weight.device, copy=True)


def _unsaved(stepper: Stepper, key: str, value: Any) -> ConfigError:
    return ConfigError(
        f"The optimizer {type(stepper).__name__} keeps {key!r} as {type(value).__name__}, which a "
        "checkpoint cannot hold; choose another one."
    )
