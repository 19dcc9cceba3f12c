"""Keras 3's .keras files, read from their description and weights; nothing in them is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from clearsight.convert.feeding import Feeding, Floats
from clearsight.convert.keras_archive import open_keras
from clearsight.convert.keras_graph import Graph, read_graph
from clearsight.convert.keras_numpy import run_graph
from clearsight.convert.keras_onnx import graph_to_onnx
from clearsight.convert.source import Read, Wanted, digest, read_model_file

PIXEL_RANGE = 50
"""A first layer that divides by at least this takes pixels of 0 to 255."""


class Keras:
    """Reads Sequential and Functional models of the usual layers."""

    takes_architecture: ClassVar[bool] = False

    def claims(self, model: str) -> bool:
        """Whether it is a file with the suffix .keras."""
        return model.lower().endswith(".keras")

    def read(self, model: str, wanted: Wanted) -> Read:
        """Read a model; see `Source.read`."""
        content = read_model_file(Path(model), _no_zip)
        file = open_keras(content)
        graph = read_graph(file.config, file.weights, wanted.size)
        channels, height, width = graph.input_shape
        known: dict[str, Any] = {"layout": "NCHW", "size": (height, width)}
        if channels == 1:
            known["channels"] = "grey"
        if _scales_pixels(graph):
            known["range"] = "0-255"

        def original(fed: Floats) -> Floats:
            return run_graph(graph, fed)

        return Read(
            format="keras",
            model=graph_to_onnx(graph),
            feeding=Feeding.parse(known),
            original=original,
            told={"sha256": digest(content), "keras": file.version},
        )


def _no_zip(beginning: bytes) -> str:
    if beginning[:4] == b"PK\x03\x04":
        return ""
    if beginning[:4] == b"\x89HDF":
        return "Keras's old HDF5 format, which may hold code, under a new name"
    return "no .keras file (it is no ZIP archive)"


def _scales_pixels(graph: Graph) -> bool:
    """Whether the first step shrinks pixels of 0 to 255, as a Rescaling layer in front does."""
    if not graph.steps or graph.steps[0].kind != "affine":
        return False
    values: Mapping[str, Any] = graph.steps[0].values
    return bool((abs(values["factor"]) <= 1 / PIXEL_RANGE).all())
