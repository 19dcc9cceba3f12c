"""The service as its users run it: hostile pictures, and an installation without torch."""

import http.client
import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from clearsight.testing.running_service import running_service
from clearsight.testing.tiny_bundle import write_colour_bundle

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
MUTANTS = 1000
EXTRA_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "scipy",
    "sklearn",
    "skimage",
    "onnx",
    "onnxscript",
    "safetensors",
    "matplotlib",
    "pyarrow",
    "pandas",
)
BLOCK = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {EXTRA_PACKAGES!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)
sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return write_colour_bundle(tmp_path_factory.mktemp("served") / "colours").path


def seeds(generator):
    """Small pictures with smooth and noisy parts, in every format and several kinds."""
    encoded = []
    for size in ((40, 30), (120, 90)):
        noise = generator.integers(0, 256, (size[1], size[0], 3), np.uint8)
        noise[: size[1] // 2] = (np.arange(size[0]) * 2)[None, :, None]
        for name in FORMATS:
            for mode in ("RGB", "L"):
                stream = io.BytesIO()
                options = {"progressive": True} if name == "JPEG" and mode == "RGB" else {}
                if name == "TIFF" and mode == "L":
                    options = {"compression": "tiff_lzw"}
                Image.fromarray(noise).convert(mode).save(stream, name, **options)
                encoded.append(stream.getvalue())
    return encoded


def mutate(pool, generator):
    """Flip bytes, cut, splice two pictures, overwrite a run, or repeat a part."""
    body = bytearray(pool[generator.integers(len(pool))])
    kind = generator.integers(5)
    at = int(generator.integers(len(body)))
    if kind == 0:
        for _ in range(generator.integers(1, 12)):
            body[generator.integers(len(body))] = generator.integers(256)
    elif kind == 1:
        del body[at:]
    elif kind == 2:
        other = pool[generator.integers(len(pool))]
        body[at:] = other[generator.integers(len(other)) :]
    elif kind == 3:
        body[at : at + 8] = bytes([generator.choice([0, 255, 127])] * 8)
    else:
        body[at:at] = body[: generator.integers(len(body))] * int(generator.integers(1, 4))
    return bytes(body)


def post(connection, body):
    connection.request("POST", "/v1/recognize", body, {"Content-Type": "image/jpeg"})
    answer = connection.getresponse()
    return answer.status, answer.headers["content-type"], json.loads(answer.read())


def rss_mb(process):
    with open(f"/proc/{process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def test_a_thousand_mutated_pictures_give_no_5xx_and_no_death(colours):
    generator = np.random.default_rng(2024)
    pool = seeds(generator)
    counts = Counter()
    with running_service([colours]) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        assert all(post(connection, body)[0] == 200 for body in pool)
        for number in range(MUTANTS):
            if number == MUTANTS // 4:
                warm_mb = rss_mb(service.process)
            status, kind, body = post(connection, mutate(pool, generator))
            counts[status] += 1
            if status != 200:
                assert 400 <= status < 500, body
                assert kind == "application/problem+json"
                assert body["status"] == status
                assert body["detail"]
                assert "0x" not in body["detail"]
        assert rss_mb(service.process) - warm_mb < 50
        assert service.process.poll() is None
        assert all(post(connection, body)[0] == 200 for body in pool), "not whole after it"
        connection.close()
    assert sum(counts.values()) == MUTANTS
    assert counts[200] > 100, f"hardly anything got through: {counts}"
    assert counts[400] > 100, f"hardly anything was broken: {counts}"


def test_it_runs_where_only_the_base_packages_are(colours):
    with running_service([colours], before=BLOCK) as service:
        assert not set(EXTRA_PACKAGES) & set(service.modules)
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        stream = io.BytesIO()
        Image.new("RGB", (50, 40), (10, 20, 230)).save(stream, "JPEG")
        status, _, body = post(connection, stream.getvalue())
        assert (status, body["predictions"][0]["label"]) == (200, "blue")
        for path in ("/", "/metrics", "/openapi.json", "/v1/models"):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, path
        connection.close()


def test_the_block_is_a_real_one(colours):
    with (
        pytest.raises(AssertionError, match="did not start"),
        running_service([colours], before=BLOCK + "import torch"),
    ):
        pass
