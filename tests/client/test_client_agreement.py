"""Labels of real photos are the same, sent whole or made smaller by the client.

Many windows of a photo are sky or grass: where the model itself is not sure, classes that are near
to each other may change places, so agreement is asked for where it is.
"""

import io

import numpy as np
import pytest
from PIL import Image

from clearsight.client.pictures import OVERSAMPLING, WORTH_IT, encode
from clearsight.core.nouns import Preprocessing
from clearsight.data.preprocess import prepare_encoded

SIDE = 224
ENLARGED = 3  # so that the photos of the test packages are as large as a camera's
SURE = 0.5
SIZE = Preprocessing(height=SIDE, width=SIDE)


def photos():
    """Real photos and windows of them, all large enough to be made smaller, as JPEG."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    whole = [np.asarray(image) for image in load_sample_images().images]
    whole += [data.astronaut(), data.coffee(), data.rocket()]
    generator = np.random.default_rng(5)
    least = int(OVERSAMPLING * SIDE / WORTH_IT / ENLARGED) + 1
    for image in whole:
        for _ in range(6):
            height = int(generator.integers(least, image.shape[0] + 1))
            width = int(generator.integers(least, image.shape[1] + 1))
            top = int(generator.integers(0, image.shape[0] - height + 1))
            left = int(generator.integers(0, image.shape[1] - width + 1))
            window = Image.fromarray(image[top : top + height, left : left + width])
            window = window.resize(
                (window.width * ENLARGED, window.height * ENLARGED), Image.Resampling.LANCZOS
            )
            stream = io.BytesIO()
            window.save(stream, "JPEG", quality=93)
            yield stream.getvalue()


@pytest.fixture(scope="module")
def recognize():
    """EfficientNet-Lite0 with its ImageNet classifier: encoded picture to probabilities."""
    torch = pytest.importorskip("torch")
    from clearsight.learn import backbones

    torch.set_num_threads(1)
    name = "tf_efficientnet_lite0"
    model = backbones._loaded(name, backbones._from_package(name)).eval()

    def run(encoded):
        pixels = torch.from_numpy(prepare_encoded(encoded, SIZE)).permute(2, 0, 1)[None].float()
        with torch.inference_mode():
            return model((pixels - 127.0) / 128.0).softmax(1)[0].numpy()

    return run


@pytest.fixture(scope="module")
def whole(recognize):
    """Every photo and what is seen in it as it is."""
    return [(encoded, recognize(encoded)) for encoded in photos()]


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "agrees"), [(False, True), (True, False)])
def test_the_label_stays(whole, recognize, spoil, agrees):
    same, sure, moved = [], [], []
    for encoded, before in whole:
        sent = encode(encoded, (8, 8) if spoil else (SIDE, SIDE))
        assert len(sent) < len(encoded)
        after = recognize(sent)
        same.append(bool(before.argmax() == after.argmax()))
        sure.append(bool(before.max() >= SURE))
        moved.append(float(abs(before.max() - after[before.argmax()])))
    where_sure = [agree for agree, certain in zip(same, sure, strict=True) if certain]
    assert len(same) >= 30
    assert len(where_sure) >= 6
    good = all(where_sure) and np.mean(same) >= 0.9 and np.mean(moved) <= 0.02
    assert good == agrees, f"{np.mean(same)}, sure {np.mean(where_sure)}, moved {np.mean(moved)}"
