"""Eight-bit models by NNCF's post-training quantisation: from the fastest settings to the gentlest.

NNCF works on the ONNX graph, so what it gives runs on every engine. It reports its use over the
network unless told otherwise; it is told otherwise before it is imported.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal

from clearsight.convert.packages import needed
from clearsight.core.errors import GateError
from clearsight.core.nouns import ImagesNHWC

OPSET = 17
FIRST_OPSET = 13
"""Scales for each channel need this version of the ONNX operators."""
TELEMETRY = "openvino_telemetry"
PURPOSE = "Quantising a model"


@dataclass(frozen=True)
class Settings:
    """One way to quantise.

    Args:
        name: for people.
        preset: "performance" (symmetric) or "mixed" (activations with a zero point).
        fast_bias_correction: correct each layer's mean error from statistics of the fp32 model;
            False runs the quantised model up to each layer instead: slower, more exact.
        keep: layers left in fp32: "none", "depthwise" (convolutions in groups: rounding their few
            weights is what hurts mobile networks) or "ends" (the first and the last layer too).
    """

    name: str
    preset: Literal["performance", "mixed"] = "performance"
    fast_bias_correction: bool = True
    keep: Literal["none", "depthwise", "ends"] = "none"


LADDER = (
    Settings("symmetric"),
    Settings("symmetric, depthwise layers in fp32", keep="depthwise"),
    Settings("symmetric, first, last and depthwise layers in fp32", keep="ends"),
    Settings("asymmetric activations", "mixed"),
    Settings("asymmetric activations, exact bias correction", "mixed", False),
    Settings("asymmetric, first, last and depthwise layers in fp32", "mixed", False, "ends"),
)
"""Tried in this order until one loses little enough; each step costs speed or time."""


class Quantizer:
    """Quantises one model, as often as there are settings to try.

    Args:
        model: an ONNX file; uint8 NHWC pictures in.
        images_nhwc: (n, h, w, c) uint8 prepared pictures that show the ranges of activations;
            no labels are used.

    Raises:
        MissingExtraError: NNCF or onnx is not installed.
        GateError: the model has no layer that could be quantised.
    """

    def __init__(self, model: bytes, images_nhwc: ImagesNHWC) -> None:
        self._onnx = needed("onnx", PURPOSE)
        self._nncf = _quiet_nncf()
        self._proto = _prepared(self._onnx, model)
        self._images = images_nhwc
        self._layers = [
            node.name for node in self._proto.graph.node if node.op_type in ("Conv", "Gemm")
        ] or [node.name for node in self._proto.graph.node if node.op_type == "MatMul"]
        if not self._layers:
            raise GateError(
                "The model has no convolution and no linear layer, so there is nothing that int8 "
                "would make faster. Nothing was written."
            )

    @property
    def steps(self) -> Iterator[Settings]:
        """The settings that make a difference for this model."""
        for settings in LADDER:
            if settings.keep == "none" or self._kept(settings.keep):
                yield settings

    def run(self, settings: Settings) -> bytes:
        """Return the model in int8.

        Raises:
            GateError: NNCF cannot quantise it.
        """
        nncf, name = self._nncf, self._proto.graph.input[0].name
        copy = self._onnx.ModelProto()
        copy.CopyFrom(self._proto)
        items = [{name: image[None]} for image in self._images]
        preset = getattr(nncf.QuantizationPreset, settings.preset.upper())
        kept = self._kept(settings.keep)
        try:
            with _silent():
                quantised = nncf.quantize(
                    copy,
                    nncf.Dataset(items),
                    preset=preset,
                    subset_size=len(items),
                    fast_bias_correction=settings.fast_bias_correction,
                    model_type=nncf.ModelType.TRANSFORMER if self._attends() else None,
                    ignored_scope=nncf.IgnoredScope(names=kept, validate=False) if kept else None,
                )
        except Exception as error:  # NNCF and the engine below it have many exception types
            raise GateError(
                f"NNCF cannot quantise this model ({settings.name}): "
                f"{type(error).__name__}: {str(error)[:300]}. Nothing was written."
            ) from error
        if not any(node.op_type == "DequantizeLinear" for node in quantised.graph.node):
            raise GateError(
                f"NNCF found nothing to quantise in this model ({settings.name}). "
                "Nothing was written."
            )
        content: bytes = quantised.SerializeToString()
        return content

    def _kept(self, keep: str) -> list[str]:
        """Return the names of the nodes that stay in fp32."""
        if keep == "none":
            return []
        names = {self._layers[0], self._layers[-1]} if keep == "ends" else set()
        for node in self._proto.graph.node:
            groups = [item.i for item in node.attribute if item.name == "group"]
            if node.op_type == "Conv" and groups and groups[0] > 1:
                names.add(node.name)
        return sorted(names)

    def _attends(self) -> bool:
        """Whether it is a transformer: a Softmax whose result is multiplied with a matrix."""
        nodes = self._proto.graph.node
        attention = {node.output[0] for node in nodes if node.op_type == "Softmax"}
        return any(node.op_type == "MatMul" and node.input[0] in attention for node in nodes)


def _prepared(onnx: Any, model: bytes) -> Any:
    """Return the graph with a name for every node and operators that know channel-wise scales."""
    proto = onnx.load_from_string(model)
    versions = [item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")]
    if versions and versions[0] < FIRST_OPSET:
        try:
            proto = onnx.version_converter.convert_version(proto, OPSET)
        except Exception as error:  # C++ exceptions of the converter
            raise GateError(
                f"The model uses ONNX operators of version {versions[0]}; int8 needs "
                f"{FIRST_OPSET}, and they cannot be converted: {error}. Export it again."
            ) from error
    for number, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type}-{number}"
    return proto


def _quiet_nncf() -> Any:
    """Import NNCF without its telemetry: nothing is reported, no file is written for it."""
    if "nncf" in sys.modules:
        return sys.modules["nncf"]
    before = sys.modules.get(TELEMETRY)
    sys.modules[TELEMETRY] = None  # type: ignore[assignment] # its import fails: NNCF has a stub
    try:
        nncf = needed("nncf", PURPOSE)
        needed("nncf.telemetry", PURPOSE)
    finally:
        if before is None:
            del sys.modules[TELEMETRY]
        else:
            sys.modules[TELEMETRY] = before
    return nncf


@contextmanager
def _silent() -> Iterator[None]:
    """Keep NNCF's log and progress bars off stdout and stderr."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            yield
    finally:
        logger.setLevel(level)
