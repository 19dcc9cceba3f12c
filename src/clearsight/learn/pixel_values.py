"""Changes of pixel values over uint8 (n, h, w, c) batches, each picture by its own amount."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


def recolour(
    images_nhwc: Tensor,
    brightness: Tensor,
    contrast: Tensor,
    saturation: Tensor | None = None,
    hue_degrees: Tensor | None = None,
) -> Tensor:
    """Return pictures with brightness, contrast, saturation and hue changed, in this order.

    All four are linear in a pixel's channels, so they are one small matrix a picture: the hue is
    turned in the plane of the YIQ colour space that holds colour, and the contrast stretches
    around the picture's mean luma.

    Args:
        images_nhwc: uint8 (n, h, w, c), c 1 or 3; not modified.
        brightness, contrast, saturation: (n,) factors, 1 for no change; a grey picture has no
            saturation and no hue.
        hue_degrees: (n,) turns of the colour circle.
    """
    n, height, width, channels = images_nhwc.shape
    device = images_nhwc.device
    pixels = images_nhwc.reshape(n, height * width, channels).float()
    luma = torch.tensor(LUMA if channels == 3 else (1.0,), device=device)
    factor = (brightness * contrast).float().to(device)
    middle = brightness.float().to(device) * (pixels.mean(1) @ luma)
    offset = (1 - contrast.float().to(device)) * middle
    if channels == 1:
        changed = pixels * factor[:, None, None] + offset[:, None, None]
    else:
        matrix = factor[:, None, None] * torch.eye(3, device=device)
        if saturation is not None:
            share = saturation.float().to(device)[:, None, None]
            matrix = matrix @ (share * torch.eye(3, device=device) + (1 - share) * luma[:, None])
        if hue_degrees is not None:
            matrix = matrix @ _hue_turns(hue_degrees).to(device).mT
        # saturation and hue leave grey alone, so the offset may be added last
        changed = torch.baddbmm(offset[:, None, None].expand(n, 1, 3), pixels, matrix)
    return _to_uint8(changed).reshape(images_nhwc.shape)


def _hue_turns(degrees: Tensor) -> Tensor:
    """Return (n, 3, 3) float32 matrices that turn the hue of RGB columns."""
    radians = degrees.float() * (math.pi / 180)
    turns = torch.eye(3).repeat(len(degrees), 1, 1)
    turns[:, 1, 1] = turns[:, 2, 2] = radians.cos()
    turns[:, 1, 2], turns[:, 2, 1] = -radians.sin(), radians.sin()
    yiq = torch.tensor(YIQ)
    result: Tensor = torch.linalg.inv(yiq) @ turns @ yiq
    return result


def sharpen(images_nhwc: Tensor, factor: Tensor) -> Tensor:
    """Return pictures blended with their smoothed selves: 0 smooth, 1 no change, 2 sharp.

    Args:
        images_nhwc: uint8 (n, h, w, c).
        factor: (n,).
    """
    pixels = images_nhwc.permute(0, 3, 1, 2).float()
    channels = pixels.shape[1]
    kernel = torch.ones(channels, 1, 3, 3, device=pixels.device)
    kernel[:, :, 1, 1] = 5
    framed = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
    smooth = F.conv2d(framed, kernel / 13, groups=channels)
    weight = factor.float().to(pixels.device)[:, None, None, None]
    return _to_uint8(torch.lerp(smooth, pixels, weight)).permute(0, 2, 3, 1).contiguous()


def posterize(images_nhwc: Tensor, bits: Tensor) -> Tensor:
    """Return pictures with only the highest `bits` (n,) of every value kept."""
    mask = (256 - 2 ** (8 - bits.long())).to(torch.uint8).to(images_nhwc.device)
    return images_nhwc & mask[:, None, None, None]


def solarize(images_nhwc: Tensor, threshold: Tensor) -> Tensor:
    """Return pictures with values from `threshold` (n,) on inverted."""
    bound = threshold.float().to(images_nhwc.device)[:, None, None, None]
    return torch.where(images_nhwc >= bound, 255 - images_nhwc, images_nhwc)


def autocontrast(images_nhwc: Tensor) -> Tensor:
    """Return pictures whose channels each reach from 0 to 255; flat ones stay as they are."""
    pixels = images_nhwc.flatten(1, 2)
    low, high = pixels.amin(1).float(), pixels.amax(1).float()
    flat = high == low
    scale = torch.where(flat, 1.0, 255 / (high - low).clamp(min=1))
    low = torch.where(flat, 0.0, low)
    changed = (images_nhwc.float() - low[:, None, None]) * scale[:, None, None]
    return _to_uint8(changed)


def equalize(images_nhwc: Tensor) -> Tensor:
    """Return pictures whose values are spread evenly, channel by channel; flat ones stay.

    Source:
        The rule of Pillow's ImageOps.equalize.
    """
    n, height, width, channels = images_nhwc.shape
    values = images_nhwc.permute(0, 3, 1, 2).reshape(n * channels, -1).long()
    counts = torch.zeros(n * channels, 256, dtype=torch.int64, device=values.device)
    counts.scatter_add_(1, values, torch.ones_like(values))
    highest = counts.gather(1, values.amax(1, keepdim=True))
    step = (values.shape[1] - highest) // 255
    table = (step // 2 + counts.cumsum(1) - counts) // step.clamp(min=1)
    table = torch.where(step > 0, table, torch.arange(256, device=values.device)).clamp(0, 255)
    spread = table.gather(1, values).to(torch.uint8)
    return spread.reshape(n, channels, height, width).permute(0, 2, 3, 1).contiguous()


def _to_uint8(pixels: Tensor) -> Tensor:
    return pixels.round_().clamp_(0, 255).to(torch.uint8)
