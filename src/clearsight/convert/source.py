"""What a format of models from elsewhere must do: read a file without running anything in it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from clearsight.convert.feeding import Feeding, Floats
from clearsight.core.bundle import WeightLicence
from clearsight.core.errors import BundleError, UsageError
from clearsight.core.files import storage_errors
from clearsight.core.progress import Progress, Silent
from clearsight.core.registry import Registry

SOURCES = Registry("clearsight.convert.sources", "import format", extra="convert")
BYTES_AT_MOST = 2**31 - 1
"""What one ONNX file can hold."""
REFUSED = {
    ".pt": "a PyTorch file, which is a pickle: opening it would run whatever it says",
    ".pth": "a PyTorch file, which is a pickle: opening it would run whatever it says",
    ".bin": "mostly a PyTorch file, which is a pickle: opening it would run whatever it says",
    ".ckpt": "a checkpoint, which is a pickle: opening it would run whatever it says",
    ".pt2": "a PyTorch archive, which may hold code",
    ".pkl": "a pickle: opening it would run whatever it says",
    ".pickle": "a pickle: opening it would run whatever it says",
    ".joblib": "a pickle: opening it would run whatever it says",
    ".h5": "Keras's old format, which may hold code",
    ".hdf5": "Keras's old format, which may hold code",
    ".pb": "a TensorFlow graph",
    ".tflite": "a TensorFlow Lite model",
}
PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
WAYS_OUT = (
    "Save it again where it was made: as ONNX (torch.onnx.export, tf2onnx, model.export), as "
    ".safetensors (save_file), or with Keras 3 as .keras."
)


@dataclass(frozen=True)
class Wanted:
    """What the user asked for, as far as a format needs it.

    Args:
        classes: how many there are.
        architecture: timm name of the network, for formats that hold weights alone.
        size: (h, w) of the input, for models that take any.
        progress: where to report.
    """

    classes: int
    architecture: str | None = None
    size: tuple[int, int] | None = None
    progress: Progress = field(default_factory=Silent)


@dataclass(frozen=True)
class Read:
    """A model from elsewhere, as ONNX.

    Args:
        format: key of the format.
        model: ONNX bytes: one float input (n, h, w, c) or (n, c, h, w), outputs with scores.
        feeding: what the file itself says; the user may add what is missing, not change it.
        original: (n, ...) float32 input -> (n, ...) scores by another way than `model`, so that
            the conversion is checked; None where the file is ONNX already and runs as it is.
        licences: of the weights.
        told: what to remember of the file, JSON-ready.
    """

    format: str
    model: bytes
    feeding: Feeding
    original: Callable[[Floats], Floats] | None = None
    licences: tuple[WeightLicence, ...] = ()
    told: dict[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """A format. Constructed without arguments.

    Args:
        takes_architecture: the format holds weights alone, so the network must be named.
    """

    takes_architecture: ClassVar[bool]

    def claims(self, model: str) -> bool:
        """Whether `model` (a path, or a name such as "timm:resnet50") is of this format.

        Looks at the text only, opens nothing, never raises; exactly one format claims a model.
        """

    def read(self, model: str, wanted: Wanted) -> Read:
        """Read a model without running anything that it says.

        Raises:
            BundleError: not of this format, damaged, or not safe.
            UsageError: something must be said that the file does not say.
            MissingExtraError: the format needs a package that is not installed.
        """


def find_source(model: str) -> tuple[str, Source]:
    """Return the format that claims a model.

    Raises:
        UsageError: none does; the message says what to do instead.
    """
    suffix = Path(model).suffix.lower()
    for key in SOURCES.keys():  # noqa: SIM118 - a Registry is no dictionary
        source: Source = SOURCES.load(key)()
        if source.claims(model):
            return key, source
    if suffix in REFUSED:
        raise UsageError(f"{model} is {REFUSED[suffix]}. It is not read. {WAYS_OUT}")
    raise UsageError(
        f"{model} is of no format that is read ({suffix or 'no suffix'}). Allowed: a file .onnx, "
        f".keras or .safetensors, or timm:NAME. {WAYS_OUT}"
    )


def read_model_file(path: Path, magic: Callable[[bytes], str] | None = None) -> bytes:
    """Read a model file as bytes.

    Args:
        path: a regular file, or a link to one (caches of models are made of links).
        magic: told the first 16 bytes; returns what is wrong with them, or "".

    Raises:
        BundleError: a folder, device or pipe, empty, too large, or of another format.
        StorageError: it cannot be read.
    """
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BundleError(f"{path} is no file (a folder, device or pipe).")
            if not 0 < found.st_size <= BYTES_AT_MOST:
                raise BundleError(
                    f"{path} has {found.st_size:,} bytes; a model has 1 to {BYTES_AT_MOST:,}."
                )
            beginning = stream.read(16)
            problem = other_format(beginning) or (magic(beginning) if magic else "")
            if problem:
                raise BundleError(f"{path} is {problem}. It is not read. {WAYS_OUT}")
            return beginning + stream.read(BYTES_AT_MOST)


def other_format(beginning: bytes) -> str:
    """Return what a file is by its first bytes when it can run code, else "".

    Example:
        >>> other_format(bytes([0x80, 4, 0x95])).startswith("a pickle")
        True
    """
    if beginning[:1] == b"\x80" and beginning[1:2] in PROTOCOLS and beginning[2:3] != b"\0":
        return "a pickle: opening it would run whatever it says"
    if beginning[:4] == b"\x7fELF" or beginning[:2] == b"MZ" or beginning[:2] == b"#!":
        return "a program"
    return ""


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file as hex digits."""
    return hashlib.sha256(content).hexdigest()
