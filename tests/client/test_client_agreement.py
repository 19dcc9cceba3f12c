"""Labels of real photos are the same, sent whole or made smaller by the client."""

import io

import numpy as np
import pytest
from PIL import Image

from clearsight.client.pictures import WORTH_IT, encode
from clearsight.core.nouns import Preprocessing
from clearsight.data.preprocess import prepare_encoded

SIDE = 128
SIZE = Preprocessing(height=SIDE, width=SIDE)


def photos():
    """Real photos and windows of them, all large enough to be made smaller, as JPEG."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    whole = [np.asarray(image) for image in load_sample_images().images]
    whole += [data.astronaut(), data.coffee(), data.rocket()]
    generator = np.random.default_rng(5)
    least = int(2 * SIDE / WORTH_IT) + 1
    for image in whole:
        for _ in range(12):
            height = int(generator.integers(least, image.shape[0] + 1))
            width = int(generator.integers(least, image.shape[1] + 1))
            top = int(generator.integers(0, image.shape[0] - height + 1))
            left = int(generator.integers(0, image.shape[1] - width + 1))
            window = Image.fromarray(image[top : top + height, left : left + width])
            window = window.resize((window.width * 3, window.height * 3), Image.Resampling.LANCZOS)
            stream = io.BytesIO()
            window.save(stream, "JPEG", quality=93)
            yield stream.getvalue()


def probabilities(model, encoded):
    import torch

    pixels = torch.from_numpy(prepare_encoded(encoded, SIZE)).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        return model((pixels - 127.0) / 128.0).softmax(1)[0].numpy()


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "agrees"), [(False, True), (True, False)])
def test_the_label_stays(spoil, agrees):
    pytest.importorskip("torch")
    from clearsight.learn import backbones

    name = "tf_efficientnet_lite0"
    weights = backbones._from_package(name)  # with the ImageNet classifier
    model = backbones._loaded(name, weights).eval()
    same, moved, smaller = [], [], []
    for encoded in photos():
        sent = encode(encoded, (8, 8) if spoil else (SIDE, SIDE))
        before, after = probabilities(model, encoded), probabilities(model, sent)
        same.append(before.argmax() == after.argmax())
        moved.append(abs(before.max() - after[before.argmax()]))
        smaller.append(len(sent) < len(encoded))
    assert len(same) >= 60
    assert all(smaller)
    assert (np.mean(same) >= 0.95) == agrees, f"{np.mean(same):.3f}, {np.mean(moved):.4f}"
