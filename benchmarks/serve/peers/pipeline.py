"""What every server here runs on a picture: our own decode, resize, engine and top five.

The environment says what: BENCH_BUNDLE, BENCH_ENGINE, BENCH_WORKERS, BENCH_PORT. One engine thread
a worker, as many workers as cores: measured fastest for every server here.
"""

import os
from pathlib import Path

BUNDLE = os.environ.get("BENCH_BUNDLE", "")
ENGINE = os.environ.get("BENCH_ENGINE", "onnxruntime")
WORKERS = int(os.environ.get("BENCH_WORKERS", "2"))
PORT = int(os.environ.get("BENCH_PORT", "8000"))


def open_pipeline():
    """Return what turns an encoded picture into a dictionary of labels and scores."""
    import cv2

    from clearsight.engines.open import open_predictor

    cv2.setNumThreads(1)
    predictor = open_predictor(Path(BUNDLE), ENGINE, threads=1)

    def recognize(encoded: bytes) -> dict:
        found = predictor.recognize(encoded, 5)
        pairs = zip(found.labels, found.scores, strict=True)
        return {"predictions": [{"label": label, "score": score} for label, score in pairs]}

    recognize(_WARM)
    return recognize


def _bmp() -> bytes:
    """A grey picture of 8 x 8 pixels, to warm the engine up."""
    pixels = b"\x80" * (8 * 24)
    head = b"BM" + (54 + len(pixels)).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    size = (8).to_bytes(4, "little")
    info = (40).to_bytes(4, "little") + size + size + b"\x01\x00\x18\x00" + bytes(24)
    return head + info + pixels


_WARM = _bmp()
