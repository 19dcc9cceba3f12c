"""Checks that a version has to pass before clients meet it.

Every check that runs the model runs in a process of its own with bounded memory and time, so a
model that eats all memory, crashes or hangs takes nothing with it but that process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from pydantic import Field

from clearsight.core.config import Config
from clearsight.serve.registry.records import Signature
from clearsight.serve.store.place import BUNDLES_VARIABLE, DATABASE_VARIABLE

Reason = Literal[
    "corrupt",  # a file is not what was put into the store
    "unusable",  # no engine here opens the model
    "shape",  # scores of another shape than the classes need
    "nan",  # scores that are no numbers
    "golden",  # other scores for the golden pictures than in training
    "memory",  # more memory than the bound
    "latency",  # more compute for a picture than the bound
    "signature",  # other classes or another task than what clients rely on
    "crash",  # the process died
    "time",  # the checks did not end
]
MEMORY_SLACK_MB = 64.0  # below this nobody cares which of two models takes more
LATENCY_SLACK_MS = 2.0
HARD_LIMIT = 1.5  # the process may take this much of the memory bound before the system stops it
PROCESS_MB = 512.0  # what Python and an engine take without a model, generously
STDERR_BYTES = 2000
MB = 10**6


class Bounds(Config):
    """What a version has to keep to be promoted.

    Args:
        latency_ratio: CPU time for a picture, at most this many times that of the version in
            production.
        memory_ratio: memory while it runs, at most this many times that of production.
        latency_ms: CPU milliseconds for a picture, at most; None for no fixed bound.
        memory_mb: MB while it runs, at most; None for half of the memory that is free.
        new_signature: accept other classes or another task than production has.
        engine: key of the engine that runs it; None takes the fastest.
        timeout_s: seconds that the checks of one version may take.
    """

    latency_ratio: float = Field(default=2.0, gt=0)
    memory_ratio: float = Field(default=2.0, gt=0)
    latency_ms: float | None = Field(default=None, gt=0)
    memory_mb: float | None = Field(default=None, gt=0)
    new_signature: bool = False
    engine: str | None = None
    timeout_s: float = Field(default=180.0, gt=0, le=3600)


DEFAULT = Bounds()


@dataclass(frozen=True, slots=True)
class Refusal:
    """One check that failed.

    Args:
        reason: a stable code, see `Reason`.
        detail: for a person.
    """

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What a model needs on this machine.

    Args:
        latency_ms: CPU time for one picture, decoding included.
        memory_mb: at the peak, beyond what the process takes without the model.
        engine: that ran it.
    """

    latency_ms: float
    memory_mb: float
    engine: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the checks found.

    Args:
        refusals: why the version may not answer; empty when it may.
        candidate, incumbent: what they need; None where it was not measured.
        notes: what else there is to know.
    """

    refusals: tuple[Refusal, ...] = ()
    candidate: Measured | None = None
    incumbent: Measured | None = None
    notes: tuple[str, ...] = ()

    def reasons(self) -> str:
        """Return every refusal in one line."""
        return " ".join(f"[{refusal.reason}] {refusal.detail}" for refusal in self.refusals)


class Check(Protocol):
    """Says whether a version may answer; `check`, or another in its place."""

    def __call__(
        self,
        candidate: Path,
        incumbent: Path | None,
        signatures: tuple[Signature, Signature | None],
        bounds: Bounds,
    ) -> Report:
        """Examine a Bundle; see `check`."""


def check(
    candidate: Path,
    incumbent: Path | None,
    signatures: tuple[Signature, Signature | None],
    bounds: Bounds = DEFAULT,
) -> Report:
    """Examine a version before it answers.

    Args:
        candidate: its Bundle folder.
        incumbent: that of the version in production; None without one.
        signatures: what callers see of the candidate, and of production (None without one).
        bounds: see `Bounds`.

    Returns:
        What was measured, and why it may not answer.
    """
    refusals = _signature_refusals(*signatures, bounds)
    notes: list[str] = []
    beside = None
    if incumbent is not None:
        beside = _tried(incumbent, bounds, _free_mb())
        if beside.refusals:
            notes.append(f"The version in production was not measured: {beside.reasons()}")
    measured = beside.candidate if beside else None
    seen = _tried(candidate, bounds, _memory_bound(bounds, measured), compile_ahead=True)
    slow = _bound_refusals(seen.candidate, measured, bounds)
    late = any(refusal.reason == "latency" for refusal in slow)
    if late and incumbent is not None and measured is not None:  # a busy moment, or really slow?
        measured = _best(measured, _tried(incumbent, bounds, _free_mb()).candidate)
        again = _tried(candidate, bounds, _memory_bound(bounds, measured))
        seen = replace(seen, candidate=_best(seen.candidate, again.candidate))
        slow = _bound_refusals(seen.candidate, measured, bounds)
    return Report(
        refusals=(*refusals, *seen.refusals, *slow),
        candidate=seen.candidate,
        incumbent=measured,
        notes=tuple(notes),
    )


def _signature_refusals(
    candidate: Signature, incumbent: Signature | None, bounds: Bounds
) -> list[Refusal]:
    if incumbent is None or bounds.new_signature:
        return []
    found = incumbent.differences(candidate)
    if not found:
        return []
    detail = (
        f"Clients rely on what is in production: {'; '.join(found)}. If they are ready for it, "
        "promote with --new-signature."
    )
    return [Refusal("signature", detail)]


def _bound_refusals(
    candidate: Measured | None, incumbent: Measured | None, bounds: Bounds
) -> list[Refusal]:
    if candidate is None:
        return []
    found = []
    latency = _latency_bound(bounds, incumbent)
    if latency is not None and candidate.latency_ms > latency:
        than = f"; production needs {incumbent.latency_ms:.3g} ms" if incumbent else ""
        found.append(
            Refusal(
                "latency",
                f"A picture needs {candidate.latency_ms:.3g} ms of CPU, allowed are "
                f"{latency:.3g} ms{than}. Allow more with --max-latency-ratio or --max-latency-ms.",
            )
        )
    memory = _memory_bound(bounds, incumbent)
    if candidate.memory_mb > memory:
        than = f"; production needs {incumbent.memory_mb:.0f} MB" if incumbent else ""
        found.append(
            Refusal(
                "memory",
                f"It needs {candidate.memory_mb:.0f} MB{than}. {_allowed(memory)}",
            )
        )
    return found


def _allowed(memory_mb: float) -> str:
    return f"Allowed are {memory_mb:.0f} MB; allow more with --max-memory-ratio or --max-memory."


def _latency_bound(bounds: Bounds, incumbent: Measured | None) -> float | None:
    if bounds.latency_ms is not None:
        return bounds.latency_ms
    if incumbent is None:
        return None
    return max(incumbent.latency_ms * bounds.latency_ratio, LATENCY_SLACK_MS)


def _memory_bound(bounds: Bounds, incumbent: Measured | None) -> float:
    if bounds.memory_mb is not None:
        return bounds.memory_mb
    if incumbent is None:
        return _free_mb()
    return max(incumbent.memory_mb * bounds.memory_ratio, MEMORY_SLACK_MB)


def _free_mb() -> float:
    """Return half of the memory that this machine has to spare now."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 / MB
    return kib * 1024 / 2 / MB


def _best(one: Measured | None, other: Measured | None) -> Measured | None:
    """Return the lower of two measurements of one model: what disturbs only ever adds."""
    if one is None or other is None:
        return one or other
    return Measured(
        min(one.latency_ms, other.latency_ms), min(one.memory_mb, other.memory_mb), one.engine
    )


def _tried(bundle: Path, bounds: Bounds, memory_mb: float, compile_ahead: bool = False) -> Report:
    """Run a Bundle's checks in a process of its own."""
    order = {
        "bundle": str(bundle),
        "engine": bounds.engine,
        "memory_bytes": int((memory_mb * HARD_LIMIT + PROCESS_MB) * MB),
        "seconds": bounds.timeout_s,
        "compile": compile_ahead,
    }
    with tempfile.TemporaryFile() as complaints:
        process = _started(complaints)
        try:
            answer, _ = process.communicate(json.dumps(order).encode(), bounds.timeout_s)
        except subprocess.TimeoutExpired:
            detail = f"The checks did not end in {bounds.timeout_s:g} s."
            return Report((Refusal("time", detail),))
        finally:
            _ended(process)
        return _understood(process.returncode, answer, complaints, memory_mb)


def _started(complaints: IO[bytes]) -> subprocess.Popen[bytes]:
    secret = {DATABASE_VARIABLE, BUNDLES_VARIABLE}
    return subprocess.Popen(
        [sys.executable, "-m", "clearsight.serve.registry.trial"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        env={**{k: v for k, v in os.environ.items() if k not in secret}, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def _ended(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _understood(code: int, answer: bytes, complaints: IO[bytes], memory_mb: float) -> Report:
    try:
        said: dict[str, Any] = json.loads(answer)
        if said.get("refused"):
            more = f" {_allowed(memory_mb)}" if said["refused"] == "memory" else ""
            return Report((Refusal(said["refused"], said["detail"] + more),))
        found = Measured(said["latency_ms"], said["memory_mb"], said["engine"])
        return Report(candidate=found)
    except (ValueError, KeyError, TypeError):
        complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - STDERR_BYTES))
        last = complaints.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        words = last[0][:300] if last else "it said nothing"
    memory = "MemoryError" in words or "bad_alloc" in words or code == -signal.SIGKILL
    ended = f"signal {-code}" if code < 0 else f"code {code}"
    detail = f"The process that tried the model ended with {ended} ({words})."
    if memory:
        detail += f" {_allowed(memory_mb)}"
    return Report((Refusal("memory" if memory else "crash", detail),))
