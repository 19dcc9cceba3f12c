"""Ray Serve: one replica a core behind its HTTP proxy, pictures as raw bodies.

Documentation: docs.ray.io, "Configure Ray Serve deployments" (num_replicas, num_cpus,
max_ongoing_requests) and "Performance Tuning" (OMP_NUM_THREADS). No dashboard, no access log.
"""

import pipeline
import ray
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request


@serve.deployment(
    num_replicas=pipeline.WORKERS,
    ray_actor_options={"num_cpus": 1},
    max_ongoing_requests=4,
    logging_config=LoggingConfig(enable_access_log=False, log_level="ERROR"),
)
class Recognizer:
    def __init__(self):
        self.recognize = pipeline.open_pipeline()

    async def __call__(self, request: Request) -> dict:
        return self.recognize(await request.body())


if __name__ == "__main__":
    ray.init(num_cpus=pipeline.WORKERS, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": pipeline.PORT})
    serve.run(Recognizer.bind(), blocking=True, route_prefix="/")
