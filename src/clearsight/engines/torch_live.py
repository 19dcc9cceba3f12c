"""Gradients of a Bundle, through torch; the one place beside `learn` that imports it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clearsight.core.agreement import agreement
from clearsight.core.bundle import GOLDEN_SCORES, MODEL, Bundle, open_bundle
from clearsight.core.calibration import probabilities
from clearsight.core.errors import BundleError, MissingExtraError, UsageError, nearest
from clearsight.core.nouns import Cotangent, Gradient, PixelsNHWC, Preprocessing, Scores
from clearsight.core.seeds import generator
from clearsight.data.preprocess import prepare_encoded

if TYPE_CHECKING:
    from clearsight.learn.onnx_in_torch import TorchGraph
    from clearsight.learn.onnx_layers import Layer

PIECE_PIXELS = 1024 * 1024
PIECE_IMAGES = 512
"""A batch is run in pieces of so many pixels and pictures at most, so memory stays bounded."""
NO_STEPS = "Methods that need only scores work: occlusion and rise explain, square attacks."
NOISE_PICTURES = 4


def open_live(source: Bundle | Path | str) -> LiveRecognizer:
    """Open a Bundle for gradients.

    The deployed ONNX graph itself is run in torch, so what is explained or attacked is what
    answers in service, imported models included.

    Args:
        source: a Bundle, its directory, or the RUN directory that holds it.

    Returns:
        A `core.nouns.Differentiable`. Opening checks that it gives the golden scores.

    Raises:
        MissingExtraError: torch or onnx is not installed.
        UsageError: no gradient flows (classical features, trees, a quantised model).
        BundleError: changed or incomplete, or torch gives other scores than were recorded.

    Example:
        >>> live = open_live("runs/1")  # doctest: +SKIP
        >>> live.gradient(pixels, of=lambda logits: one_hot).gradients.shape  # doctest: +SKIP
        (4, 28, 28, 1)
    """
    bundle = source if isinstance(source, Bundle) else open_bundle(Path(source))
    manifest = bundle.manifest
    if manifest.family == "classical" or manifest.steps:
        raise UsageError(
            f"{bundle.path}: no gradients flow through a recognizer of the family "
            f"{manifest.family}; its scores change in steps. {NO_STEPS}"
        )
    try:
        from clearsight.learn.onnx_in_torch import read_graph
    except ModuleNotFoundError as error:
        missing = (error.name or "torch").split(".")[0]
        raise MissingExtraError(missing, "train", "Taking gradients") from error
    live = LiveRecognizer(
        read_graph(bundle.read(MODEL)), manifest.classes, manifest.preprocessing, _golden(bundle)
    )
    _check_scores(bundle, live)
    _check_flow(bundle, live)
    return live


class LiveRecognizer:
    """A recognizer that gives gradients; implements `core.nouns.Differentiable`. Thread-safe.

    Args:
        graph: what is run.
        classes: class names, in the order of the score columns.
        preprocessing: size and channels of the pictures.
        sample: (n, h, w, c) float32, a few pictures to look at the graph with.
    """

    def __init__(
        self,
        graph: TorchGraph,
        classes: Sequence[str],
        preprocessing: Preprocessing,
        sample: PixelsNHWC,
    ) -> None:
        import torch

        from clearsight.learn.onnx_layers import find_layers

        self._torch: Any = torch
        self._graph, self._sample = graph, sample
        self._classes, self._preprocessing = tuple(classes), preprocessing
        layers, self._attentions = find_layers(graph, torch.from_numpy(sample[:1].copy()))
        self._layers: dict[str, Layer] = {layer.name: layer for layer in layers}

    @property
    def classes(self) -> Sequence[str]:
        """Class names, in the order of the score columns."""
        return self._classes

    @property
    def preprocessing(self) -> Preprocessing:
        """Size and channels of the pictures."""
        return self._preprocessing

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of layers that keep a map of the picture, one a size, deepest first."""
        return tuple(self._layers)

    def logits(self, pixels_nhwc: PixelsNHWC) -> Scores:
        """Return raw scores (n, classes) of pictures with any float32 pixel values.

        Raises:
            UsageError: wrong shape or dtype.
            BundleError: NaN or infinity in the scores.
        """
        self._check(pixels_nhwc)
        found = [self._scores(piece) for piece in self._pieces(pixels_nhwc)]
        return self._finite(np.concatenate(found))

    def gradient(
        self, pixels_nhwc: PixelsNHWC, of: Cotangent, layer: str | None = None
    ) -> Gradient:
        """Return the gradient with respect to the pixels, or to the maps of a layer.

        Args:
            pixels_nhwc: (n, h, w, c) float32 in [0, 255].
            of: called once with the logits of the whole batch (n, classes).
            layer: one of `layers`; None asks for the pixels.

        Returns:
            Logits, values and gradients; a layer's as (n, c, h, w).

        Raises:
            UsageError: wrong shape or dtype, or no such layer.
            BundleError: NaN or infinity in scores or gradients.
        """
        self._check(pixels_nhwc)
        if layer is not None and layer not in self._layers:
            raise UsageError(f"No layer {layer!r} keeps a map.{nearest(layer, self._layers)}")
        pieces = self._pieces(pixels_nhwc)
        if len(pieces) == 1:
            return self._back(pieces[0], of, layer)
        wanted = self._cotangent(of, self.logits(pixels_nhwc))
        rows, start = [], 0
        for piece in pieces:
            part = wanted[start : start + len(piece)]
            rows.append(self._back(piece, lambda _, part=part: part, layer))  # type: ignore[misc]
            start += len(piece)
        return Gradient(
            np.concatenate([row.logits for row in rows]),
            np.concatenate([row.values for row in rows]),
            np.concatenate([row.gradients for row in rows]),
        )

    def attentions(self, pixels_nhwc: PixelsNHWC) -> tuple[NDArray[np.float32], ...]:
        """Return every block's attention (n, heads, tokens, tokens), first first; else empty.

        Empty too where attention looks through windows and never at the whole picture.
        """
        self._check(pixels_nhwc)
        if not self._attentions:
            return ()
        with self._torch.no_grad():
            parts = [
                self._graph.run(self._tensor(piece), self._attentions)
                for piece in self._pieces(pixels_nhwc)
            ]
        return tuple(
            np.concatenate([part[name].numpy() for part in parts]) for name in self._attentions
        )

    def randomized(self, seed: int) -> LiveRecognizer:
        """Return the same network with weights drawn anew; explanations of it must differ."""
        graph = self._graph.redrawn(seed, self._tensor(self._sample))
        return LiveRecognizer(graph, self._classes, self._preprocessing, self._sample)

    def _back(self, pixels: PixelsNHWC, of: Cotangent, layer: str | None) -> Gradient:
        """Run one piece forward and back."""
        torch = self._torch
        with torch.enable_grad():
            start = self._tensor(pixels)
            if layer is None:
                start.requires_grad_()
            found = self._graph.run(start, ("logits",), leaf=layer)
            values = start if layer is None else found[layer]
            logits = self._finite(found["logits"].detach().numpy())
            wanted = torch.from_numpy(self._cotangent(of, logits))
            (slope,) = torch.autograd.grad(found["logits"], values, wanted, allow_unused=True)
        slope = torch.zeros_like(values) if slope is None else slope
        shown, slope = values.detach(), slope.detach()
        if layer is not None and self._layers[layer].layout == "nhwc":
            shown, slope = shown.permute(0, 3, 1, 2), slope.permute(0, 3, 1, 2)
        return Gradient(
            logits,
            np.ascontiguousarray(shown.numpy()),
            self._finite(np.ascontiguousarray(slope.numpy())),
        )

    def _scores(self, pixels: PixelsNHWC) -> Scores:
        with self._torch.no_grad():
            scores: Scores = self._graph.run(self._tensor(pixels), ("logits",))["logits"].numpy()
        return scores

    def _cotangent(self, of: Cotangent, logits: Scores) -> Scores:
        wanted = np.ascontiguousarray(of(logits), dtype=np.float32)
        if wanted.shape != logits.shape:
            raise UsageError(
                f"'of' must return an array of the logits' shape {logits.shape}; got "
                f"{wanted.shape}."
            )
        return wanted

    def _tensor(self, pixels: PixelsNHWC) -> Any:
        return self._torch.from_numpy(np.array(pixels, dtype=np.float32, order="C"))

    def _pieces(self, pixels: PixelsNHWC) -> list[PixelsNHWC]:
        _, height, width, _ = pixels.shape
        size = min(PIECE_IMAGES, max(1, PIECE_PIXELS // (height * width)))
        return [pixels[at : at + size] for at in range(0, len(pixels), size)]

    def _check(self, pixels: PixelsNHWC) -> None:
        p = self._preprocessing
        shape = (p.height, p.width, p.channels)
        if pixels.dtype != np.float32 or pixels.shape[1:] != shape or not len(pixels):
            raise UsageError(
                f"Gradients need float32 pictures of shape (n >= 1, {', '.join(map(str, shape))}); "
                f"got {pixels.dtype} {pixels.shape}. Prepare pictures with the Bundle's "
                "preprocessing and turn them into float32."
            )

    @staticmethod
    def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
        if not np.isfinite(values).all():
            raise BundleError(
                "The model gives NaN or infinity in its scores or gradients. Train again, or use "
                "a method that needs only scores."
            )
        return values


def _golden(bundle: Bundle) -> PixelsNHWC:
    """Return the Bundle's golden pictures, or noise where it has none."""
    p = bundle.manifest.preprocessing
    if GOLDEN_SCORES not in bundle.manifest.files:
        noise = generator(0, "live").uniform(
            0, 255, (NOISE_PICTURES, p.height, p.width, p.channels)
        )
        return noise.astype(np.float32)
    names = json.loads(bundle.read(GOLDEN_SCORES))["images"]
    pictures = [prepare_encoded(bundle.read(str(name)), p) for name in names]
    return np.stack(pictures).astype(np.float32)


def _check_scores(bundle: Bundle, live: LiveRecognizer) -> None:
    """Refuse a network that answers otherwise than the deployed one.

    Raises:
        BundleError: other scores than were recorded in training.
    """
    if GOLDEN_SCORES not in bundle.manifest.files:
        return
    manifest = bundle.manifest
    wanted = np.array(json.loads(bundle.read(GOLDEN_SCORES))["logits"], dtype=np.float32)
    pictures = _golden(bundle)
    expected, got = (
        probabilities(scores, manifest.temperature, manifest.task)
        for scores in (wanted, live.logits(pictures))
    )
    seen = agreement(expected, got, manifest.steps)
    if not seen.holds:
        raise BundleError(
            f"{bundle.path}: torch gives other scores than were recorded in training "
            f"(probabilities off by up to {seen.max_difference:.2g}, allowed {seen.allowed:g}). "
            "Please report this."
        )


def _check_flow(bundle: Bundle, live: LiveRecognizer) -> None:
    """Refuse a network through which nothing flows back.

    Raises:
        UsageError: the gradient of a mixture of scores is 0 for every golden picture.
    """
    mixture = generator(0, "flow").normal(size=len(live.classes)).astype(np.float32)
    pictures = _golden(bundle)
    seen = live.gradient(pictures, lambda logits: np.broadcast_to(mixture, logits.shape))
    if not seen.gradients.any():
        raise UsageError(
            f"{bundle.path}: no gradient flows back to the pixels; the model's scores change in "
            f"steps. {NO_STEPS}"
        )
