"""safetensors: weights alone, of a network that timm knows by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from clearsight.convert.packages import needed
from clearsight.convert.source import Read, Wanted, digest, read_model_file
from clearsight.convert.sources.timm import timm_feeding
from clearsight.core.errors import BundleError, UsageError

HEADER_AT_MOST = 100 * 1024 * 1024
CONFIG_AT_MOST = 1024 * 1024


class Safetensors:
    """Reads `.safetensors` files; the network is named by the user, the file or its config.json."""

    takes_architecture: ClassVar[bool] = True

    def claims(self, model: str) -> bool:
        """Whether it is a file with the suffix .safetensors."""
        return model.lower().endswith(".safetensors")

    def read(self, model: str, wanted: Wanted) -> Read:
        """Read a model; see `Source.read`."""
        path = Path(model)
        content = read_model_file(path, _header_problem)
        safetensors = needed("safetensors.numpy", "Reading safetensors")
        try:
            arrays = safetensors.load(content)
        except Exception as error:  # SafetensorError is no subclass of anything in particular
            raise BundleError(f"{path} is damaged: {error}.") from error
        config = _config_beside(path)
        name = wanted.architecture or _named_in(content) or config.get("architecture")
        if not isinstance(name, str):
            raise UsageError(
                f"{path} holds weights alone. Name the network with --architecture, for example "
                "--architecture resnet50 (a timm name)."
            )
        learn = needed("clearsight.learn.timm_import", "Building the network", "train")
        made = learn.network_of(name, arrays, wanted.classes, config.get("pretrained_cfg") or {})
        return Read(
            format="safetensors",
            model=made.model,
            feeding=timm_feeding(made.mean, made.std, made.side),
            original=made.run,
            told={"sha256": digest(content), "architecture": name},
        )


def _header_problem(beginning: bytes) -> str:
    """Say what is wrong with the length that a safetensors file begins with."""
    length = int.from_bytes(beginning[:8], "little")
    if len(beginning) < 10 or not 2 <= length <= HEADER_AT_MOST or beginning[8:9] != b"{":
        return "no safetensors file (its header is missing or absurdly long)"
    return ""


def _named_in(content: bytes) -> str | None:
    """Return the network's name from the file's own metadata."""
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    name: str | None = metadata.get("architecture")
    return name


def _config_beside(path: Path) -> dict[str, Any]:
    """Return what timm's config.json beside the weights says, or nothing."""
    file = path.with_name("config.json")
    try:
        with open(file, "rb") as stream:
            content = stream.read(CONFIG_AT_MOST + 1)
        found = json.loads(content) if len(content) <= CONFIG_AT_MOST else None
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
