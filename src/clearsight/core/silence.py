"""Keeps libraries from telling others what is done here.

Several libraries report their use to their makers unless told not to. ONNX Runtime on Linux and
OpenVINO even write an identifier of the machine to disk as soon as they are imported. Nothing that
clearsight does leaves the machine, so all of them are told no before any is imported.
A variable that the user has set is left as it is.
"""

from __future__ import annotations

import os
import sys

SAYS_NO = {
    "DO_NOT_TRACK": "true",  # several
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, through timm
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime; it is read when its library is loaded
}

REPORTER = "openvino_telemetry"
"""OpenVINO and NNCF report through it and do without where it cannot be imported."""


def silence() -> None:
    """Say no to every library that would report its use."""
    for name, value in SAYS_NO.items():
        os.environ.setdefault(name, value)
    sys.modules.setdefault(REPORTER, None)  # type: ignore[arg-type] # its import fails from now on
