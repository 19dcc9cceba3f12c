"""ONNX: the format that runs everywhere; checked, and taken as it is."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from clearsight.convert.onnx_outline import feeding_of, load, outline, pixels_as_they_are
from clearsight.convert.source import Read, Wanted, digest, read_model_file


class Onnx:
    """Reads `.onnx` files without external data and custom operators."""

    takes_architecture: ClassVar[bool] = False

    def claims(self, model: str) -> bool:
        """Whether it is a file with the suffix .onnx."""
        return model.lower().endswith(".onnx")

    def read(self, model: str, wanted: Wanted) -> Read:
        """Read a model; see `Source.read`."""
        content = read_model_file(Path(model), _zip)
        seen = outline(load(content))
        return Read(
            format="onnx",
            model=content,
            feeding=pixels_as_they_are(seen, feeding_of(seen)),
            told={"sha256": digest(content)},
        )


def _zip(beginning: bytes) -> str:
    """Say what a file that begins as a ZIP archive is."""
    archive = beginning[:4] in (b"PK\x03\x04", b"PK\x05\x06")
    return "a ZIP archive (PyTorch's and Keras's files are such), no ONNX file" if archive else ""
