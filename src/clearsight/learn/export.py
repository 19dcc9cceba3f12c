"""Turns a torch network into the ONNX file of a Bundle."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clearsight.core.nouns import Preprocessing

OPSET = 17


class _FromPixels(nn.Module):
    """uint8 NHWC pictures -> the named outputs of a network, as a tuple."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, tuple(names)

    def forward(self, images_nhwc: Tensor) -> tuple[Tensor, ...]:
        pixels = images_nhwc.permute(0, 3, 1, 2).to(torch.float32)
        if self.names == ("logits",):
            return (self.network(pixels),)
        outputs = self.network.outputs(pixels)  # type: ignore[operator]
        return tuple(outputs[name] for name in self.names)


def export_onnx(
    network: nn.Module, preprocessing: Preprocessing, outputs: Sequence[str] = ("logits",)
) -> bytes:
    """Return an ONNX model: uint8 NHWC "images" with a free batch axis -> `outputs` (float32).

    Args:
        network: takes float32 (n, c, h, w) pixels in [0, 255] (it normalises them itself) and
            returns logits. For more than logits it must have `outputs(pixels)`, which returns
            tensors by name.
        preprocessing: gives height, width and channels of the pictures.
        outputs: names of the model's outputs, "logits" first.

    Source:
        torch's tracing exporter: a second for a small network where the torch.export one takes
        many, and it folds constants and batch normalisation. Our networks have no control flow.
    """
    p = preprocessing
    example = torch.zeros(2, p.height, p.width, p.channels, dtype=torch.uint8)
    model = _FromPixels(network, outputs).cpu().eval()
    return export_network(model, example, "images", outputs)


def export_network(
    network: nn.Module, example: Tensor, input_name: str, outputs: Sequence[str]
) -> bytes:
    """Return a network as ONNX with a free batch axis.

    Args:
        network: takes one tensor, returns one or a tuple.
        example: an input, (n, ...).
        input_name: name of the input.
        outputs: names of the outputs.
    """
    stream = io.BytesIO()
    before = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            torch.onnx.export(
                network,
                (example,),
                stream,  # type: ignore[arg-type]
                dynamo=False,
                input_names=[input_name],
                output_names=list(outputs),
                dynamic_axes={name: {0: "n"} for name in (input_name, *outputs)},
                opset_version=OPSET,
                do_constant_folding=True,
            )
        finally:
            logging.getLogger("torch.onnx").setLevel(before)
    return stream.getvalue()
