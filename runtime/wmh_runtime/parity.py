"""Parity: how far what executes is from the network that was trained, and how far it may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from wmh_runtime.answers import Answers
from wmh_runtime.backends.base import Backend
from wmh_runtime.errors import BackendError
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.types import Precision, Views

Data = Literal["phantoms", "scans"]  # what slices show


@dataclass(frozen=True)
class Bound:
    """How far a precision may be from the network."""

    probability: float = 1.0  # largest absolute difference
    mask_dice: float = 0.0  # least
    volume_percent: float = 100.0  # largest difference of the masks' volume


# The one place of them.
BOUNDS: dict[Precision, Bound] = {
    "fp32": Bound(probability=1e-4),
    "fp16": Bound(mask_dice=0.999),
    "bf16": Bound(mask_dice=0.99, volume_percent=2),
    "int8": Bound(mask_dice=0.99, volume_percent=2),
}


class Parity(BaseModel):
    """How far what executes is from the network, as measured."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    backend: str = Field(description="what executed, with its version and device")
    precision: Precision
    views: Views
    emulated: bool = Field(description="computed in wider arithmetic than the precision's own")
    data: Data
    slices: int = Field(ge=1)
    max_abs_difference: float = Field(ge=0, description="of probability")
    mean_abs_difference: float = Field(ge=0, description="of probability")
    mask_dice: float = Field(
        ge=0, le=1, description="of the thresholded masks, slices pooled, lowest of the outputs"
    )
    reference_ml: float = Field(gt=0, description="volume of the network's masks")
    volume_difference_ml: float = Field(description="positive where it finds more")

    @property
    def volume_percent(self) -> float:
        """The difference of volume, unsigned, in per cent of the network's."""
        return 100 * abs(self.volume_difference_ml) / self.reference_ml

    @property
    def shortfall(self) -> str:
        """What is beyond the precision's bound, in words; empty where nothing is."""
        bound = BOUNDS[self.precision]
        beyond = []
        if self.max_abs_difference > bound.probability:
            beyond.append(
                f"probability differs by up to {self.max_abs_difference:.2g}, at most"
                f" {bound.probability:g} is allowed"
            )
        if self.mask_dice < bound.mask_dice:
            beyond.append(
                f"mask Dice is {self.mask_dice:.4f}, at least {bound.mask_dice:g} is asked"
            )
        if self.volume_percent > bound.volume_percent:
            beyond.append(
                f"volume differs by {self.volume_percent:.1f} %, at most"
                f" {bound.volume_percent:g} % is allowed"
            )
        return "; ".join(beyond)

    def __str__(self) -> str:
        """Say it in a line."""
        return (
            f"{self.precision}, {self.views} view(s), {self.backend}"
            f"{', emulated' * self.emulated}, {self.slices} slices of {self.data}: probability"
            f" differs by at most {self.max_abs_difference:.1e}, mean"
            f" {self.mean_abs_difference:.1e}; mask Dice {self.mask_dice:.4f}; volume"
            f" {self.volume_difference_ml:+.3f} of {self.reference_ml:.2f} mL"
        )


def measure_parity(
    answers: Answers,
    backend: Backend,
    views: Views,
    thresholds: Sequence[float],
    data: Data = "phantoms",
) -> Parity:
    """Ask a backend what the network was asked.

    Args:
        answers: of the network.
        backend: open, of the same shape.
        views: that the backend looks at.
        thresholds: of the K outputs, for the masks.
        data: what the slices show.

    Raises:
        BackendError: the answers show no lesion, so that agreement would mean nothing; or the
            execution failed, or gave what is not finite.
    """
    expected = answers.probability[views]
    cut = np.asarray(thresholds, np.float32)[:, None, None]
    masks = expected >= cut  # [n, K, S, S]
    if not masks.any():
        raise BackendError(
            f"the network finds no lesion in the {data} of the parity check",
            "Train it further, or give scans with lesions; two empty masks prove nothing.",
        )
    found = backend.predict(answers.slices[: len(expected)])
    found_masks = found >= cut
    difference = np.abs(expected.astype(np.float64) - found)
    pixel_ml = answers.pixel_ml[: len(expected), None, None, None]
    reference_ml = float((masks * pixel_ml).sum())
    return Parity(
        backend=backend.description,
        precision=backend.precision,
        views=views,
        emulated=backend.emulated,
        data=data,
        slices=len(expected),
        max_abs_difference=float(difference.max()),
        mean_abs_difference=float(difference.mean()),
        mask_dice=min(dice_of_masks(masks[:, k], found_masks[:, k]) for k in range(masks.shape[1])),
        reference_ml=reference_ml,
        volume_difference_ml=float((found_masks * pixel_ml).sum()) - reference_ml,
    )
