"""What goes into the service and what comes out of it, free of any transport."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from clearsight.core.nouns import ImageHWC, Prediction
from clearsight.serve.access.caller import ANONYMOUS, Caller

if TYPE_CHECKING:
    from clearsight.serve.models import Model

Priority = Literal["normal", "batch"]
"""Two classes of requests: "batch" runs when nothing "normal" waits."""
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
Picture = bytes | ImageHWC
"""An encoded picture, or a decoded one: (height, width, 3) uint8 RGB."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Args:
        pictures: encoded pictures, or decoded ones as (height, width, 3) uint8 RGB.
        model: its name; may be left out where only one is served.
        version: a version or "production", "canary"; None leaves the choice to the service.
        top: how many labels; more than the model's classes gives all of them.
        deadline_s: seconds from now after which nobody needs the answer; the service's own
            where None, and never longer than that.
        priority: see `Priority`.
        caller: who asks.
        id: the request's id, for logs and traces.
    """

    pictures: Sequence[Picture]
    model: str | None = None
    version: str | None = None
    top: int = 5
    deadline_s: float | None = None
    priority: Priority = "normal"
    caller: Caller = ANONYMOUS
    id: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """An admitted request.

    Args:
        model: the version that answers all of its pictures.
        futures: one a picture, in order. Each ends with a Prediction, or with ImageError,
            ExpiredError or ModelFailedError. One that is cancelled while it waits leaves the
            queue and never reaches the model.
        deadline_s: seconds from admission in which every future ends.
    """

    model: Model
    futures: list[Future[Prediction]]
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What happened to one picture, for metrics, traces and monitors.

    Args:
        request_id: of its request.
        model, version: what answered.
        caller_id: the key's public part.
        prediction: the answer; None when there was an error.
        error: what the client was told; None when there was an answer.
        queue_s, decode_s, infer_s: seconds it waited, was decoded and resized, and was in the
            model; `infer_s` is the whole batch's.
        batch: pictures that were in the model together.
        embedding: (n,) float32 feature vector where an observer asked for it.
        shadow: True when the answer went nowhere and was only compared.
    """

    request_id: str
    model: str
    version: str
    caller_id: str
    prediction: Prediction | None
    error: Exception | None
    queue_s: float
    decode_s: float
    infer_s: float
    batch: int
    embedding: NDArray[np.float32] | None = None
    shadow: bool = False


Observer = Callable[[Observation], None]
"""Called on the worker's thread after every picture: must be quick."""


@dataclass(slots=True, eq=False)
class Job:
    """One picture on its way through the service.

    Args:
        model: the version that answers it.
        picture, top, caller, request_id: from its `Call`.
        lane: its class: one of `Priority`, or "shadow".
        deadline: on the monotonic clock.
        queued: when it was admitted, on the monotonic clock.
        future: how it ends.
        expected_s: what it was forecast to take when it was admitted.
        answered: for a shadow, the version that answered and its answer.
    """

    model: Model
    picture: Picture
    top: int
    lane: Literal["normal", "batch", "shadow"]
    deadline: float
    queued: float
    caller: Caller = ANONYMOUS
    request_id: str = ""
    expected_s: float = 0.0
    answered: tuple[str, Prediction] | None = None
    future: Future[Prediction] = field(default_factory=Future)
