"""What every corruption in `robust/corruptions/` must satisfy."""

from __future__ import annotations

from clearsight.robust.corruptions import CORRUPTIONS
from clearsight.testing.contract import Contract
from clearsight.testing.distortion_clauses import DistortionClauses


class CorruptionContract(DistortionClauses, Contract):
    """Clauses every corruption satisfies; an implementation is a `Distortion`."""

    registry = CORRUPTIONS
