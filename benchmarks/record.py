"""What a benchmark writes: one JSON record, checked against one schema."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Measurement(_Strict):
    """One quantity: every value that was measured, their median and spread (max - min)."""

    name: str
    unit: str
    values: list[float] = Field(min_length=1)
    median: float
    spread: float

    @classmethod
    def of(cls, name: str, unit: str, values: list[float]) -> Measurement:
        return cls(
            name=name,
            unit=unit,
            values=[round(value, 4) for value in values],
            median=round(statistics.median(values), 4),
            spread=round(max(values) - min(values), 4),
        )


class Claim(_Strict):
    """What was aimed at, what was got, and whether it was met; losses stand beside wins."""

    text: str
    target: float
    got: float
    met: bool


class Record(_Strict):
    """One benchmark's result."""

    name: str
    command: str
    machine: dict[str, str | int | float]
    versions: dict[str, str]
    commit: str
    measurements: list[Measurement] = Field(min_length=1)
    claims: list[Claim]

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Record:
    """Read and check a record."""
    return Record.model_validate(json.loads(path.read_text(encoding="utf-8")))


def machine() -> dict[str, str | int | float]:
    """Describe the machine: processor, cores, memory, system, load when measuring begins."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model,
        "cores": os.cpu_count() or 0,
        "memory_gib": round(memory_gib, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def versions(*packages: str) -> dict[str, str]:
    """Return the installed version of each package, "absent" where there is none."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def commit() -> str:
    """Return the commit that was measured, with "+" when the tree had changes in src."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "src") else "")
