"""KServe's Python model server: one uvicorn process a core, pictures as base64 in the V1 protocol.

Documentation: kserve.github.io, "Deploy Custom Python Serving Runtime" (Model, ModelServer,
--workers, {"instances": [{"image": {"b64": ...}}]}). The processes start empty, so each opens its
engine with its first request. Without gRPC and without a log line a request. Its parent takes a
child for dead that does not answer for 5 s; here everybody is stopped for longer while others are
measured, so it waits for ten minutes.
"""

import base64
import os

import pipeline
from kserve import Model, ModelServer
from kserve.protocol.rest.multiprocess.server import RESTServerProcess

PATIENCE_S = 600.0


class Recognizer(Model):
    def __init__(self, name: str):
        super().__init__(name)
        self.opened: dict = {}
        self.ready = True

    def predict(self, payload: dict, headers: dict | None = None, *rest, **more) -> dict:
        if os.getpid() not in self.opened:
            self.opened[os.getpid()] = pipeline.open_pipeline()
        recognize = self.opened[os.getpid()]
        pictures = [base64.b64decode(item["image"]["b64"]) for item in payload["instances"]]
        return {"predictions": [recognize(picture) for picture in pictures]}


if __name__ == "__main__":
    RESTServerProcess.is_alive.__defaults__ = (PATIENCE_S,)
    ModelServer(
        http_port=pipeline.PORT,
        workers=pipeline.WORKERS,
        enable_grpc=False,
        enable_latency_logging=False,
    ).start([Recognizer("recognizer")])
