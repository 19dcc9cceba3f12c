"""The HOG graph agrees with scikit-image, an independent implementation."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from skimage import data, feature

from clearsight.core.nouns import Preprocessing
from clearsight.learn.descriptors.hog import Hog
from clearsight.learn.feature_graph import Block, embedding_model
from clearsight.learn.onnx_graph import append_head

PLAIN = Hog.Config(cell=8, orientations=9, signed=False, interpolate=False)
PHOTOS = {
    "astronaut": data.astronaut()[20:148, 180:276],
    "coffee": data.coffee()[100:228, 200:296],
    "cat": data.chelsea()[60:188, 120:216],
}


def model(config: Hog.Config, image: np.ndarray) -> bytes:
    height, width, channels = image.shape
    size = Preprocessing(height=height, width=width, channels=channels)
    return embedding_model([Block("hog", Hog(config))], size)


def descriptor(config: Hog.Config, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model(config, image), providers=["CPUExecutionProvider"])
    return session.run(["embedding"], {"images": np.ascontiguousarray(image[None])})[0][0]


def reference(image: np.ndarray, cell: int = 8) -> np.ndarray:
    """Block-normalised histograms of scikit-image."""
    grey = image.shape[2] == 1
    return feature.hog(
        image[..., 0] if grey else image,
        orientations=9,
        pixels_per_cell=(cell, cell),
        cells_per_block=(2, 2),
        block_norm="L2-Hys",
        channel_axis=None if grey else 2,
    )


@pytest.mark.parametrize("photo", sorted(PHOTOS))
@pytest.mark.parametrize("channels", [1, 3])
def test_squares_are_scikit_image_descriptors(photo: str, channels: int) -> None:
    image = PHOTOS[photo][:, :, :channels]
    got = descriptor(PLAIN, image)
    np.testing.assert_allclose(got**2, reference(image), atol=1e-6)


def test_a_transposed_picture_does_not_agree() -> None:
    image = PHOTOS["coffee"][:96]
    got = descriptor(PLAIN, image.transpose(1, 0, 2))
    assert np.abs(got**2 - reference(image)).max() > 0.05


def test_sharing_among_bins_changes_the_figures_but_keeps_the_content() -> None:
    image = PHOTOS["astronaut"]
    shared = descriptor(PLAIN.model_copy(update={"interpolate": True}), image)
    correlation = np.corrcoef(shared**2, reference(image))[0, 1]
    assert 0.7 < correlation < 0.99


def test_signed_bins_tell_a_picture_from_its_negative() -> None:
    image = PHOTOS["cat"]
    signed = Hog.Config(cell=8)
    unsigned = PLAIN.model_copy(update={"interpolate": True})
    np.testing.assert_allclose(
        descriptor(unsigned, image), descriptor(unsigned, 255 - image), atol=1e-4
    )
    assert np.abs(descriptor(signed, image) - descriptor(signed, 255 - image)).max() > 0.3


@pytest.mark.parametrize("interpolate", [False, True])
def test_flat_pictures_and_odd_cells_are_finite(interpolate: bool) -> None:
    flat = np.full((15, 21, 1), 200, np.uint8)
    got = descriptor(Hog.Config(cell=3, interpolate=interpolate), flat)
    assert got.shape == (4 * 6 * 4 * 18,)
    np.testing.assert_array_equal(got, 0)


def test_an_appended_head_is_a_matrix_product() -> None:
    image = PHOTOS["coffee"]
    weight = np.random.default_rng(0).normal(size=(15 * 11 * 36, 4)).astype(np.float32)
    bias = np.arange(4, dtype=np.float32)
    whole = append_head(model(PLAIN, image), weight, bias)
    session = onnxruntime.InferenceSession(whole, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["logits", "embedding"]
    logits, embedding = session.run(None, {"images": np.stack([image, image[::-1]])})
    np.testing.assert_allclose(logits, embedding @ weight + bias, rtol=1e-4, atol=1e-4)
