"""The calibration of a model: thresholds, minimum lesion sizes, and how good probabilities are."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.schema import StrictModel
from wmh_runtime.tta import Views

LOWEST_PROBABILITY = 0.05  # of the voxels in a reliability curve


class OperatingPoint(StrictModel):
    """The best thresholds and minimum lesion sizes for a number of views, and their scores."""

    views: Views
    outputs: list[Output] = Field(description="none if the network predicts regions only")
    mean_dice: list[float] = Field(description="one value per output")
    mean_lesion_f1: list[float] = Field(description="one value per output")


class ReliabilityBin(StrictModel):
    """Voxels of about the same probability, and how many of them are lesion."""

    voxels: int
    mean_probability: float
    lesion_share: float


class Calibration(StrictModel):
    """Thresholds and minimum lesion sizes, chosen on validation scans."""

    operating_points: list[OperatingPoint] = Field(
        min_length=1, description="for eight views, then for one view"
    )
    empty_slice_thresholds: list[float] = Field(
        default=[],
        description="one value per output, for adaptive views: a slice is empty if its probability"
        " in the first view is below this everywhere",
    )
    scans: int = Field(ge=1, description="number of validation scans")
    reliability: list[list[ReliabilityBin]] = Field(
        default=[],
        description="for each output, with eight views: voxels of the validation scans by their"
        f" probability, from {LOWEST_PROBABILITY:g} on",
    )

    @property
    def outputs(self) -> list[Output]:
        """The outputs with thresholds and minimum lesion sizes for eight views, the default."""
        return self.operating_points[0].outputs

    @property
    def calibration_errors(self) -> list[float]:
        """The expected calibration error of each output (Naeini et al. 2015).

        The mean difference between probability and share of lesion, weighted by voxels.
        """
        return [
            sum(one.voxels * abs(one.mean_probability - one.lesion_share) for one in bins)
            / max(1, sum(one.voxels for one in bins))
            for bins in self.reliability
        ]

    @model_validator(mode="after")
    def _check_outputs(self) -> Self:
        names = [[output.name for output in point.outputs] for point in self.operating_points]
        if any(others != names[0] for others in names):
            raise ValueError(f"the operating points have the outputs {names}, expected the same")
        count = len(self.empty_slice_thresholds)
        if count not in (0, len(names[0])):
            raise ValueError(f"{count} empty_slice_thresholds, expected {len(names[0])}")
        return self
