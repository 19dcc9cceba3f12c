"""Write a Bundle around a network with random weights: as fast as a trained one.

python benchmarks/serve/parts/lite0_bundle.py OUT [TIMM_NAME]
"""

import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import timm
import torch

from clearsight.core.bundle import MODEL, write_bundle
from clearsight.learn.golden import golden_files

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE, CLASSES = 224, 1000
LITE0 = "tf_efficientnet_lite0"


class FromPixels(torch.nn.Module):
    """uint8 NHWC in, logits out; normalisation folded in, as every Bundle's model has it."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1) * 255)

    def forward(self, images):
        pixels = images.permute(0, 3, 1, 2).to(torch.float32)
        return self.network((pixels - self.mean) / self.std)


def build(name: str = LITE0, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    network = timm.create_model(name, pretrained=False, num_classes=CLASSES)
    return FromPixels(network).eval()


def export(network: torch.nn.Module) -> bytes:
    stream = io.BytesIO()
    torch.onnx.export(
        network,
        (torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8),),
        stream,
        input_names=["images"],
        output_names=["logits"],
        dynamic_axes={"images": {0: "n"}, "logits": {0: "n"}},
        opset_version=18,
        dynamo=False,
    )
    return stream.getvalue()


def write(path: Path, name: str = LITE0, seed: int = 0) -> None:
    about = {
        "id": hashlib.sha256(f"{name} {seed}".encode()).hexdigest()[:32],
        "created_utc": "2026-01-01T00:00:00Z",
        "classes": [f"class {number:04}" for number in range(CLASSES)],
        "family": "benchmark",
        "preprocessing": {"height": SIZE, "width": SIZE, "channels": 3},
        "temperature": 1.0,
        "metrics": {},
        "data_fingerprint": "0" * 64,
        "seed": 0,
        "config": {},
        "versions": {},
    }
    network = build(name, seed)
    images = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)
    with torch.inference_mode():
        logits = network(torch.from_numpy(images)).numpy()
    files = {MODEL: export(network), **golden_files(images, logits)}
    write_bundle(path, about, files, gate=lambda bundle: None)


if __name__ == "__main__":
    write(Path(sys.argv[1]), *sys.argv[2:3])
