"""The accuracy of a model, as measured on annotated scans, and what it warns of."""

from __future__ import annotations

from pydantic import Field

from wmh_runtime.schema import StrictModel
from wmh_runtime.text import count_noun

FEW_SCANS = 10  # with fewer scans, thresholds and accuracy are uncertain
LOW_DICE = 0.6  # below it, about half of the lesion voxels are wrong


class LoadAccuracy(StrictModel):
    """Mean accuracy on the scans of one range of lesion loads. null: no scan has a value."""

    load: str = Field(description="the range in mL, such as 2 to 5")
    scans: int = Field(ge=1)
    dice: float | None
    h95_mm: float | None
    avd_percent: float | None
    lesion_recall: float | None
    lesion_precision: float | None
    lesion_f1: float | None
    volume_bias_ml: float = Field(description="mean of predicted minus reference volume")


class MeasuredAccuracy(StrictModel):
    """The accuracy on annotated scans that took no part in training and calibration."""

    data: str = Field(description="the scans, as a noun phrase")
    scans: int = Field(ge=1)
    mean_dice: float
    lowest_dice: float
    threshold_mean_dice: float | None = Field(
        description="of the best intensity threshold of each scan; null: not measured"
    )
    by_load: list[LoadAccuracy] = Field(default=[], description="from low to high loads")

    @property
    def warnings(self) -> list[str]:
        """One warning if the accuracy is low or was measured on few scans, otherwise none."""
        scans = count_noun(self.scans, "scan")
        if self.mean_dice >= LOW_DICE:
            few = f"the accuracy of this model was measured on {scans} only"
            return [few] if self.scans < FEW_SCANS else []
        loads = ", ".join(
            f"{one.load} mL: {one.dice:.2f}" for one in self.by_load if one.dice is not None
        )
        return [
            f"this model is inaccurate: mean Dice {self.mean_dice:.2f} on {self.data} ({scans}"
            f"{f'; {loads}' if loads else ''}); check the masks in the pictures"
        ]
