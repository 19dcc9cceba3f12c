"""What the protocol tells about the service and its models, and the repository's commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearsight.core.errors import ClearsightError
from clearsight.core.version import __version__
from clearsight.serve import log
from clearsight.serve.access.caller import Caller
from clearsight.serve.catalogue import Entry
from clearsight.serve.errors import (
    MalformedRequestError,
    NotReadyError,
    UnknownModelError,
)
from clearsight.serve.models import Model
from clearsight.serve.oip.answer import outputs_of
from clearsight.serve.oip.request import INPUTS, refuse_unknown
from clearsight.serve.oip.statistics import statistics_of
from clearsight.serve.oip.tensors import BYTES
from clearsight.serve.service import Service

PLATFORM = "clearsight_bundle"
EXTENSIONS = [
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
]
INPUT_SHAPES = {"image": (-1,), "pixels": (-1, -1, -1, 3)}
ON_DEMAND = "not in memory; the next request loads it"

Json = dict[str, Any]


def server() -> Json:
    """Return the server's metadata."""
    return {"name": "clearsight", "version": __version__, "extensions": EXTENSIONS}


def is_ready(service: Service, model: Model) -> bool:
    """Say whether a model answers requests, or will once it is loaded on demand."""
    return service.ready and (model.loaded or not model.problem)


def metadata(service: Service, model: Model, caller: Caller) -> Json:
    """Return a model's metadata: its versions, inputs and outputs."""
    return {
        "name": model.name,
        "versions": list(_versions(service, model.name, caller)),
        "platform": PLATFORM,
        "inputs": [
            {"name": name, "datatype": datatype, "shape": list(INPUT_SHAPES[name])}
            for name, (datatype, _) in INPUTS.items()
        ],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": list(shape)}
            for name, (datatype, shape) in outputs_of(model.task).items()
        ],
    }


def config(model: Model) -> Json:
    """Return a model's configuration in the form that load generators read."""
    inputs = {name: (kind, INPUT_SHAPES[name]) for name, (kind, _) in INPUTS.items()}
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": "clearsight",
        "max_batch_size": 0,  # the first axis of the shapes is the batch
        "input": _config_tensors(inputs),
        "output": _config_tensors(outputs_of(model.task)),
    }


def statistics(service: Service, caller: Caller, name: str = "", version: str = "") -> Json:
    """Return counts and times of every version, of one model's versions, or of one version.

    Raises:
        UnknownModelError, UnknownVersionError: what was asked for is not there.
    """
    if version:
        asked = [(name, service.models.resolve(name, version, caller).version)]
    elif name:
        asked = [(name, key) for key in _versions(service, name, caller)]
    else:
        entries = service.models.entries(caller)
        asked = [(entry.name, key) for entry in entries for key in entry.versions]
    return {"model_stats": statistics_of(service).of(asked)}


def index(service: Service, caller: Caller, ready_only: bool = False) -> list[Json]:
    """Return every version that this caller may ask for, and its state."""
    rows = []
    for entry in service.models.entries(caller):
        for version, model in _versions(service, entry.name, caller).items():
            broken = bool(model.problem) and not model.loaded
            if not (broken and ready_only):
                reason = model.problem if broken else "" if model.loaded else ON_DEMAND
                state = "UNAVAILABLE" if broken else "READY"
                rows.append(
                    {"name": entry.name, "version": version, "state": state, "reason": reason}
                )
    return rows


def load(service: Service, caller: Caller, name: str, parameters: Mapping[str, Any]) -> None:
    """Bring a model's answering versions into memory; return when they are there. Blocks.

    Raises:
        UnknownModelError: no such model, or not the caller's own.
        MalformedRequestError: any parameter: what is loaded is decided where it is stored, never
            by a request.
        NotReadyError: it cannot be loaded.
    """
    refuse_unknown(parameters, (), "parameter of load")
    entry = _own(service, caller, name)
    versions = service.models.versions(name)
    for model in (versions[key] for key in entry.wanted()):
        try:
            service.load(model)
        except ClearsightError as error:
            log.failure("model cannot be loaded", error, model=model.name, version=model.version)
            raise NotReadyError(
                f"The model {name!r} cannot be loaded. The log says why."
            ) from error


def unload(service: Service, caller: Caller, name: str, parameters: Mapping[str, Any]) -> None:
    """Let a model's memory go; the next request for it loads it again.

    Raises:
        UnknownModelError: no such model, or not the caller's own.
        MalformedRequestError: an unknown parameter, or a model's dependents, which none has.
    """
    refuse_unknown(parameters, ("unload_dependents",), "parameter of unload")
    if parameters.get("unload_dependents", False) is not False:
        raise MalformedRequestError("'unload_dependents' must be false: no model has dependents.")
    _own(service, caller, name)
    for model in service.models.versions(name).values():
        if model.loaded:
            service.unload(model)


def _own(service: Service, caller: Caller, name: str) -> Entry:
    """Return a model that the caller may administer: of its own tenant, not everybody's."""
    seen = [entry for entry in service.models.entries(caller) if entry.tenant == caller.tenant]
    for entry in seen:
        if entry.name == name:
            return entry
    raise UnknownModelError(name, [entry.name for entry in seen])


def _versions(service: Service, name: str, caller: Caller) -> Mapping[str, Model]:
    seen = [entry.name for entry in service.models.entries(caller)]
    if name not in seen:
        raise UnknownModelError(name, seen)
    return service.models.versions(name)


def _config_tensors(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> list[Json]:
    return [
        {
            "name": name,
            "data_type": "TYPE_STRING" if datatype == BYTES else f"TYPE_{datatype}",
            "dims": list(shape),
        }
        for name, (datatype, shape) in tensors.items()
    ]
