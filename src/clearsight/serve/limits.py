"""What one service takes on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clearsight.core.config import Config


class ServiceLimits(Config):
    """What one service takes on; everything beyond is refused, never squeezed in.

    Args:
        workers: threads that run pictures; 0 means one more than there are cores.
        queue: pictures of one priority that may wait at the same time.
        deadline_s: seconds from a request's arrival after which nobody needs the answer.
        memory_bytes: what all loaded models may take; 0 means half of the machine's.
        shares: weight of a model among models that wait, by name; 1 where it is not named.
        remember: answers that are kept for pictures that come again; 0 keeps none.
        max_drop: points of accuracy that a faster variant may have lost.
        body_bytes: largest request body.
        buffered_bytes: all request bodies that are held at the same time.
        pixels: largest picture, read from its header before decoding.
        pictures: most pictures in one request.
        top: most labels in one answer.
        header_s, body_s: seconds in which a request's head and its body must arrive.
        idle_s: seconds after which a connection without a request is closed.
        drain_s: seconds that a stop waits for requests in flight.
        feedback_bytes: what corrections and their pictures may take on the disk.
        drift_window: pictures that are judged together for drift.
        drift_features: compare embeddings too, which every answer then computes.
        linger_s: seconds between "not ready" and closing the door, so that balancers notice.
    """

    workers: int = Field(default=0, ge=0, le=1024)
    queue: int = Field(default=64, ge=1, le=100_000)
    deadline_s: float = Field(default=30.0, gt=0, le=3600)
    memory_bytes: int = Field(default=0, ge=0)
    shares: dict[str, Annotated[float, Field(gt=0, le=1000)]] = Field(default_factory=dict)
    remember: int = Field(default=0, ge=0, le=10_000_000)
    max_drop: float = Field(default=0.5, ge=0, le=100)
    body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    buffered_bytes: int = Field(default=512 * 1024 * 1024, ge=1024)
    pixels: int = Field(default=50_000_000, ge=1)
    pictures: int = Field(default=32, ge=1, le=1000)
    top: int = Field(default=1000, ge=1)
    header_s: float = Field(default=10.0, gt=0)
    body_s: float = Field(default=30.0, gt=0)
    idle_s: float = Field(default=30.0, gt=0)
    feedback_bytes: int = Field(default=1024**3, ge=0)
    drift_window: int = Field(default=300, ge=30, le=100_000)
    drift_features: bool = False
    drain_s: float = Field(default=30.0, gt=0)
    linger_s: float = Field(default=0.5, ge=0)
