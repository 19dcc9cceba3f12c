"""Fits a classifier made for a fixed window (VGG's 7x7) to a smaller feature map, exactly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def fit_head(model: nn.Module, side: int) -> None:
    """Shrink VGG's first classifier kernel to the feature map that pictures of `side` give.

    timm spreads a map that is smaller than the kernel over the kernel's window by adaptive
    pooling. That is linear, so it is folded into the kernel: the same function with a fraction of
    the weights (1 part in 49 at 32 pixels), and no pooling that ONNX lacks. Other models are left
    as they are.

    Args:
        model: a timm model.
        side: of its square input in pixels.

    Source:
        Very Deep Convolutional Networks: Simonyan, Zisserman (2015), section 3.2 (classifiers as
        convolutions).
    """
    head: Any = getattr(model, "pre_logits", None)
    kernel = getattr(head, "input_kernel_size", None)
    if kernel is None:
        return
    with torch.no_grad():
        was_training = model.training
        seen = model.eval().forward_features(torch.zeros(1, 3, side, side))  # type: ignore[operator]
        model.train(was_training)
        found = min(seen.shape[-2:])
        if found >= kernel:
            return
        old: nn.Conv2d = head.fc1
        new = nn.Conv2d(old.in_channels, old.out_channels, found)
        new.weight.copy_(_folded(old.weight, found))
        new.bias.copy_(old.bias)  # type: ignore[union-attr,arg-type]
    head.fc1, head.input_kernel_size = new, found


def _folded(weight: Tensor, size: int) -> Tensor:
    """Return the (out, in, size, size) kernel that equals spreading a map over the window."""
    basis = torch.eye(size * size).reshape(size * size, 1, size, size)
    spread = F.adaptive_avg_pool2d(basis, (weight.shape[-2], weight.shape[-1])).squeeze(1)
    folded = torch.einsum("oiab,kab->oik", weight, spread)
    return folded.reshape(*weight.shape[:2], size, size)
