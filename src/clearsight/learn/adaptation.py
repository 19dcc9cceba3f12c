"""Fits a network's inner statistics to the pictures it is to be used on, without labels."""

from __future__ import annotations

from typing import Any

import torch
from onnx import load_from_string, numpy_helper
from torch import Tensor

from clearsight.core.errors import UsageError
from clearsight.core.nouns import ImagesNHWC
from clearsight.learn.onnx_in_torch import Node, compute, read_graph

PIXELS_AT_ONCE = 2**22
"""Pictures are looked at all at once, layer by layer; so many pixels of them at most."""
PSEUDO_PICTURES = 64
"""So many pictures of the old kind the old statistics count for; with fewer new ones they rule."""
FLOOR = 1e-5
"""Added to variances: a channel that is still in both kinds of picture stays as it is."""
Moments = tuple[Tensor, Tensor]


def adapted_model(
    model: bytes,
    reference_nhwc: ImagesNHWC,
    target_nhwc: ImagesNHWC,
    pseudo_pictures: float = PSEUDO_PICTURES,
) -> bytes:
    """Return the model with every convolution's channels brought back to what they were.

    In a deployed model batch normalisation is part of the convolutions. On pictures of another
    kind (darker, noisier) a channel's mean and variance are not those it was trained with; here
    they are measured on both kinds, and each convolution's weights and bias are changed so that
    its output has the old ones on the new pictures. Layers are fitted one after the other.

    Args:
        model: ONNX, uint8 (n, h, w, c) pictures in, "logits" out.
        reference_nhwc: pictures of the kind it was trained on.
        target_nhwc: pictures of the kind it is to be used on; no labels are needed.
        pseudo_pictures: how many target pictures the old statistics weigh as much as; 0 takes the
            new statistics alone.

    Raises:
        UsageError: it has no convolutions, or torch cannot follow it.

    Source:
        Schneider et al., Improving Robustness against Common Corruptions by Covariate Shift
        Adaptation (2020), equation 1; on folded normalisation: our own writing.
    """
    graph = read_graph(model)
    proto: Any = load_from_string(model)
    stored = {item.name for item in proto.graph.initializer}
    own = [node for node in graph.nodes if node.operator == "Conv" and node.reads[1] in stored]
    if not own:
        raise UsageError(
            "Statistics cannot be adapted: the model has no convolutions. Use flips, or harden "
            "it while it is trained."
        )
    ours = {node.gives[0] for node in own}
    before: dict[str, Moments] = {}
    fresh: dict[str, Moments] = {}
    share = len(target_nhwc) / (len(target_nhwc) + pseudo_pictures)

    def note(node: Node, reads: list[Any]) -> tuple[Any, ...]:
        found = compute(node, reads)
        if node.gives[0] in ours:
            before.setdefault(node.reads[1], _moments(found[0]))
        return found

    def renew(node: Node, reads: list[Any]) -> tuple[Any, ...]:
        if node.gives[0] not in ours:
            return compute(node, reads)
        name = node.reads[1]
        if name not in fresh:  # a kernel that is used twice (mirrored views) is fitted once
            seen = _moments(compute(node, reads)[0])
            fresh[name] = _fitted(reads, before[name], seen, share)
        return compute(node, [reads[0], *fresh[name]])

    with torch.no_grad():
        graph.run(_pixels(reference_nhwc), (), apply=note)
        graph.run(_pixels(target_nhwc), (), apply=renew)
    return _written(proto, fresh)


def most_pictures(height: int, width: int) -> int:
    """Return how many pictures are looked at, at most.

    Example:
        >>> most_pictures(224, 224)
        83
    """
    return max(1, PIXELS_AT_ONCE // (height * width))


def _pixels(images_nhwc: ImagesNHWC) -> Tensor:
    few = images_nhwc[: most_pictures(*images_nhwc.shape[1:3])]
    return torch.from_numpy(few.astype("float32"))


def _moments(maps: Tensor) -> Moments:
    """Return mean and variance of every channel of (n, c, h, w) maps."""
    return maps.mean((0, 2, 3)), maps.var((0, 2, 3), unbiased=False)


def _fitted(reads: list[Any], old: Moments, seen: Moments, share: float) -> Moments:
    """Return the kernel and bias that turn the statistics seen into the old ones."""
    mean, variance = (share * new + (1 - share) * was for was, new in zip(old, seen, strict=True))
    factor = ((old[1] + FLOOR) / (variance + FLOOR)).sqrt()
    kernel = reads[1]
    bias = reads[2] if len(reads) > 2 and reads[2] is not None else torch.zeros_like(mean)
    return kernel * factor[:, None, None, None], (bias - mean) * factor + old[0]


def _written(proto: Any, fresh: dict[str, Moments]) -> bytes:
    """Return the model with new kernels and biases."""
    numbers = {item.name: at for at, item in enumerate(proto.graph.initializer)}
    for name, (kernel, bias) in fresh.items():
        made = numpy_helper.from_array(kernel.numpy(), name)
        proto.graph.initializer[numbers[name]].CopyFrom(made)
        proto.graph.initializer.append(numpy_helper.from_array(bias.numpy(), f"{name}/adapted"))
    for node in proto.graph.node:
        if node.op_type == "Conv" and node.input[1] in fresh:
            words = [node.input[0], node.input[1], f"{node.input[1]}/adapted"]
            del node.input[:]
            node.input.extend(words)
    content: bytes = proto.SerializeToString()
    return content
