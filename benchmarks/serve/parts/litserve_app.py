"""LitServe around the same predictor (same decode, resize, engine), one worker process a core.

    python benchmarks/serve/parts/litserve_app.py BUNDLE PORT WORKERS ENGINE

LitServe reads JSON or forms, not raw bodies; a multipart form is its fastest way for a picture.
"""

import sys
from pathlib import Path

import litserve
from fastapi import Request

from clearsight.engines.open import open_predictor

BUNDLE, PORT, WORKERS, ENGINE = sys.argv[1:5]


class Recognize(litserve.LitAPI):
    def setup(self, device):
        self.predictor = open_predictor(Path(BUNDLE), ENGINE, threads=1)

    def decode_request(self, request: Request):
        return request["image"].file.read()

    def predict(self, encoded):
        return self.predictor.recognize(encoded, 5)

    def encode_response(self, output):
        pairs = zip(output.labels, output.scores, strict=True)
        return {
            "predictions": [{"label": label, "score": score} for label, score in pairs],
            "accepted": output.accepted,
        }


if __name__ == "__main__":
    server = litserve.LitServer(
        Recognize(), accelerator="cpu", workers_per_device=int(WORKERS), fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=int(PORT),
        log_level="warning",
        generate_client_file=False,
        num_api_servers=1,
    )
