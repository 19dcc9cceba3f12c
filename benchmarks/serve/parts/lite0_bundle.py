"""Write a Bundle around EfficientNet-Lite0 with random weights: as fast as a trained one.

python benchmarks/serve/parts/lite0_bundle.py OUT
"""

import io
import sys
from pathlib import Path

import timm
import torch

from clearsight.core.bundle import MODEL, write_bundle

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE, CLASSES = 224, 1000


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


def export() -> bytes:
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=CLASSES)
    stream = io.BytesIO()
    torch.onnx.export(
        FromPixels(network).eval(),
        (torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8),),
        stream,
        input_names=["images"],
        output_names=["logits"],
        dynamic_axes={"images": {0: "n"}, "logits": {0: "n"}},
        opset_version=18,
        dynamo=False,
    )
    return stream.getvalue()


def write(path: Path) -> None:
    about = {
        "id": "0" * 32,
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
    write_bundle(path, about, {MODEL: export()}, gate=lambda bundle: None)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
