"""MLServer: a custom runtime in one inference worker a core, pictures as base64 tensors.

Documentation: docs.seldon.ai/mlserver, "Custom Inference Runtimes", "Parallel Inference"
(parallel_workers) and "Content Types" (base64). Its REST interface reads JSON only.
"""

import json
from pathlib import Path

import pipeline
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Recognizer(MLModel):
    async def load(self) -> bool:
        self.recognize = pipeline.open_pipeline()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        import numpy as np

        encoded = Base64Codec.decode_input(payload.inputs[0])[0]
        found = self.recognize(encoded)["predictions"]
        scores = np.array([[pair["score"] for pair in found]], np.float32)
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                StringCodec.encode_output("label", [pair["label"] for pair in found]),
                NumpyCodec.encode_output("score", scores),
            ],
        )


def write_settings(folder: Path, grpc_port: int, metrics_port: int) -> None:
    """Write what `mlserver start FOLDER` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": pipeline.PORT,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "parallel_workers": pipeline.WORKERS,
        "use_structured_logging": False,
        "metrics_dir": str(folder),
    }
    model = {"name": "recognizer", "implementation": "mlserver_app.Recognizer"}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))


if __name__ == "__main__":
    import os
    import sys

    write_settings(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    program = Path(sys.executable).with_name("mlserver")
    os.execv(program, [str(program), "start", sys.argv[1]])
