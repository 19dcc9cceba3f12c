"""BentoML: one worker process a core, pictures as multipart forms.

Documentation: docs.bentoml.com, "Parallelize requests handling" (workers) and "Define input and
output types" (files as pathlib.Path). Adaptive batching is left off: on a processor a batch of
pictures takes as long as the pictures one by one.
"""

from pathlib import Path

import bentoml
import pipeline


@bentoml.service(
    workers=pipeline.WORKERS, traffic={"timeout": 60}, logging={"access": {"enabled": False}}
)
class Recognizer:
    def __init__(self):
        self.recognize = pipeline.open_pipeline()

    @bentoml.api
    def classify(self, image: Path) -> dict:
        return self.recognize(image.read_bytes())
