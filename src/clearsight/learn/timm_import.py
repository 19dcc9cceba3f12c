"""timm networks with given weights as ONNX, for imports; no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clearsight.core.bundle import WeightLicence
from clearsight.core.errors import BundleError, UsageError
from clearsight.core.progress import Progress
from clearsight.learn.backbones import check_name, find_weights
from clearsight.learn.export import export_network
from clearsight.learn.networks.timm_sides import create, own_side

Floats = NDArray[np.float32]
NAMED = 5


@dataclass(frozen=True)
class ImportedNetwork:
    """A network ready to be imported.

    Args:
        model: ONNX: float32 (n, 3, side, side), normalised -> "logits".
        run: the same in torch.
        classes: how many scores it gives.
        mean, std: of the input, in pixels of 0 to 255.
        side: of its square input in pixels.
        licence: of the weights, where it is known.
    """

    model: bytes
    run: Callable[[Floats], Floats]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int
    licence: WeightLicence | None = None


def pretrained_network(name: str, progress: Progress) -> ImportedNetwork:
    """Return a timm model with its pre-trained weights and classifier.

    Args:
        name: a timm model name.
        progress: told where the weights came from.

    Raises:
        UnknownKeyError: timm has no such model.
        UsageError: its weights cannot be had here.
    """
    import timm

    check_name(name)
    weights = find_weights(name, progress)
    if weights is None:
        raise UsageError(
            f"No pre-trained weights of {name} can be had here: the hub is not reached and no "
            "installed package holds them. Give a file with --architecture instead."
        )
    classes = int(timm.get_pretrained_cfg_value(name, "num_classes") or 1000)
    state = {key: torch.from_numpy(np.array(value)) for key, value in weights.arrays.items()}
    network = _filled(create(name, None, classes), state, name)
    return _made(network, name, classes, weights.mean, weights.std, weights.licence)


def network_of(
    name: str, arrays: Mapping[str, NDArray[Any]], classes: int, config: Mapping[str, Any]
) -> ImportedNetwork:
    """Return a timm model with given weights.

    Args:
        name: a timm model name.
        arrays: by timm's names.
        classes: how many scores it must give.
        config: timm's `pretrained_cfg` (`mean`, `std`, `input_size`); what it lacks is the
            model's own.

    Raises:
        UnknownKeyError: timm has no such model.
        BundleError: the weights are not those of this network with so many classes.
    """
    import timm

    check_name(name)
    own = timm.get_pretrained_cfg(name)
    mean, std = (_channels(config.get(key), own, key) for key in ("mean", "std"))
    side = config.get("input_size", [3, own_side(name)])[-1]
    if not (isinstance(side, int) and 0 < side <= 4096):
        raise BundleError(f"config.json gives the input size {config.get('input_size')!r}.")
    state = {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}
    network = _filled(create(name, side, classes), state, name)
    return _made(network, name, classes, mean, std, None, side)


def _channels(value: Any, own: Any, key: str) -> tuple[float, ...]:
    """Return mean or std in pixels of 0 to 255."""
    found = value if value is not None else getattr(own, key, None)
    default = (0.485, 0.456, 0.406) if key == "mean" else (0.229, 0.224, 0.225)
    numbers = tuple(float(item) for item in (found or default))
    if len(numbers) != 3:
        raise BundleError(f"config.json gives {key} {value!r}; it must be three numbers.")
    return tuple(255 * item for item in numbers)


def _filled(network: Any, state: dict[str, torch.Tensor], name: str) -> Any:
    own = network.state_dict()
    state |= {key: own[key] for key in own if key.endswith("num_batches_tracked")}
    wrong = [key for key in own if key not in state]
    wrong += [key for key in state if key not in own]
    wrong += [key for key in own if key in state and own[key].shape != state[key].shape]
    if wrong:
        shown = [_compared(key, own, state) for key in wrong[:NAMED]]
        raise BundleError(
            f"The weights are not those of {name}: {len(wrong)} tensors are missing, too many or "
            f"of another shape ({'; '.join(shown)}). Name the right network with --architecture, "
            "and the classes it was trained for."
        )
    network.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()})
    return network.eval()


def _compared(key: str, own: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    wanted, got = (tuple(item[key].shape) if key in item else "none" for item in (own, state))
    return f"{key}: {wanted} wanted, {got} given"


def _made(
    network: Any,
    name: str,
    classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    licence: WeightLicence | None,
    side: int | None = None,
) -> ImportedNetwork:
    side = side or own_side(name)

    def run(fed: Floats) -> Floats:
        with torch.inference_mode():
            scores: Floats = network(torch.from_numpy(fed)).numpy()
        return scores

    model = export_network(network, torch.zeros(2, 3, side, side), "input", ("logits",))
    return ImportedNetwork(model, run, classes, tuple(mean), tuple(std), side, licence)
