"""LitServe: one worker process a core, pictures as multipart forms (it reads JSON or forms).

Documentation: lightning.ai/docs/litserve, "LitServer" (workers_per_device, fast_queue) and "Request
types" (files). One API server: a second took processor time from the workers and made it slower.
"""

import litserve
import pipeline
from fastapi import Request


class Recognize(litserve.LitAPI):
    def setup(self, device):
        self.recognize = pipeline.open_pipeline()

    def decode_request(self, request: Request):
        return request["image"].file.read()

    def predict(self, encoded):
        return self.recognize(encoded)

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Recognize(), accelerator="cpu", workers_per_device=pipeline.WORKERS, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=pipeline.PORT,
        log_level="warning",
        generate_client_file=False,
        num_api_servers=1,
    )
