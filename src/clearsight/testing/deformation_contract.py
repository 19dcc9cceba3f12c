"""What every deformation in `robust/deformations/` must satisfy."""

from __future__ import annotations

from typing import Any

import numpy as np

from clearsight.core.nouns import ImagesNHWC
from clearsight.robust.deformations import DEFORMATIONS
from clearsight.robust.distortion import SEVERITIES
from clearsight.testing.contract import Contract
from clearsight.testing.distortion_clauses import DistortionClauses, planted


class DeformationContract(DistortionClauses, Contract):
    """Clauses every deformation satisfies; an implementation is a `Distortion`."""

    registry = DEFORMATIONS

    def check_moves_points_alone(self, deformation: Any) -> None:
        """A picture of one colour stays as it is: points move, colours do not, nothing is cut."""
        for channels in (1, 3):
            plain = np.full((2, 30, 40, channels), 137, np.uint8)
            for severity in SEVERITIES:
                moved = deformation(plain, severity, 1).astype(int)
                assert np.abs(moved - 137).max() <= 1

    def broken(self) -> dict[str, Any]:
        """Return one planted violation a clause."""

        def black_corners(images: ImagesNHWC, severity: int, seed: int) -> ImagesNHWC:
            cut = images.copy()
            cut[:, :severity] = 0
            return cut

        return {**super().broken(), "check_moves_points_alone": planted(black_corners)}
