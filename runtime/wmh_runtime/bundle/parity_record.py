"""Parity: how far a backend is from the reference outputs, and the tolerance per precision."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import Field

from wmh_runtime.precision import Precision
from wmh_runtime.schema import StrictModel
from wmh_runtime.text import count_noun
from wmh_runtime.tta import Views
from wmh_runtime.types import ProbeSource


@dataclass(frozen=True)
class Tolerance:
    """The largest deviation from the reference outputs that is accepted."""

    probability: float = math.inf  # maximum absolute difference
    mask_dice: float = 0.0  # minimum Dice of the masks
    volume_percent: float = math.inf  # maximum absolute volume difference of the masks


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(probability=1e-4),
    "fp16": Tolerance(mask_dice=0.999),
    "bf16": Tolerance(mask_dice=0.99, volume_percent=2),
    "int8": Tolerance(mask_dice=0.99, volume_percent=2),
    "int8+bf16": Tolerance(mask_dice=0.99, volume_percent=2),
}
# Masks that differ by a few pixels at lesion borders count as equal: rounding causes this. In small
# lesions even these pixels lower the Dice, so the Dice limit is low.
_ROUNDING_PX, _ROUNDING_DICE = 4, 0.8
# A recorded violation covers a later one that is at most this many times as large.
_KNOWN_VIOLATION_FACTOR = 2.0


class OutputParity(StrictModel):
    """The comparison of the masks of one output, over all slices together."""

    name: str
    reference_ml: float = Field(ge=0, description="mask volume of the reference outputs")
    backend_ml: float = Field(ge=0, description="mask volume of the backend")
    mask_dice: float = Field(ge=0, le=1)
    differing_pixels: int = Field(ge=0)

    @property
    def is_compared(self) -> bool:
        """Whether a mask is not empty. Two empty masks prove nothing."""
        return self.reference_ml > 0 or self.backend_ml > 0

    @property
    def is_rounding(self) -> bool:
        """Whether the masks differ by a few pixels only, as rounding causes."""
        return self.differing_pixels <= _ROUNDING_PX and (
            self.mask_dice >= _ROUNDING_DICE or not self.is_compared
        )

    @property
    def volume_percent(self) -> float:
        """The absolute volume difference, in percent of the reference volume."""
        if self.reference_ml == 0:
            return math.inf if self.backend_ml else 0.0
        return 100 * abs(self.backend_ml - self.reference_ml) / self.reference_ml


class Parity(StrictModel):
    """The measured difference between a backend and the reference outputs."""

    backend: str = Field(description="library, version and device")
    precision: Precision
    views: Views
    emulated: bool = Field(description="computed in a higher precision than `precision`")
    data: ProbeSource
    slices: int = Field(ge=1)
    max_abs_difference: float = Field(ge=0, description="of the probability")
    mean_abs_difference: float = Field(ge=0, description="of the probability")
    outputs: list[OutputParity] = Field(min_length=1)

    @property
    def library(self) -> str:
        """The name of the library, without version and device."""
        return self.backend.split()[0]

    @property
    def mask_dice(self) -> float:
        """The lowest Dice of all outputs that were compared."""
        return min(output.mask_dice for output in self.outputs if output.is_compared)

    @property
    def volume_percent(self) -> float:
        """The largest absolute volume difference of all outputs."""
        return max(output.volume_percent for output in self.outputs)

    @property
    def not_compared(self) -> list[str]:
        """Names of the outputs with two empty masks."""
        return [output.name for output in self.outputs if not output.is_compared]

    @property
    def share_of_tolerance(self) -> float:
        """The deviation as a fraction of the tolerance. Above 1, it violates the tolerance."""
        tolerance = TOLERANCES[self.precision]
        shares = [self.max_abs_difference / tolerance.probability]
        for output in self._differing_outputs:
            shares.append((1 - output.mask_dice) / (1 - tolerance.mask_dice))
            shares.append(output.volume_percent / tolerance.volume_percent)
        return max(shares)

    @property
    def _differing_outputs(self) -> list[OutputParity]:
        """The outputs whose masks differ by more than rounding."""
        return [output for output in self.outputs if not output.is_rounding]

    @property
    def violation(self) -> str:
        """A sentence on how the tolerance is violated. Empty if it is not."""
        tolerance = TOLERANCES[self.precision]
        problems = []
        if self.max_abs_difference > tolerance.probability:
            problems.append(
                f"probability differs by up to {self.max_abs_difference:.2g}, at most"
                f" {tolerance.probability:g} is allowed"
            )
        differing = self._differing_outputs
        mask_dice = min((output.mask_dice for output in differing), default=1.0)
        if mask_dice < tolerance.mask_dice:
            problems.append(
                f"mask Dice is {mask_dice:.4f}, at least {tolerance.mask_dice:g} is required"
            )
        volume_percent = max((output.volume_percent for output in differing), default=0.0)
        if volume_percent > tolerance.volume_percent:
            problems.append(
                f"volume differs by {volume_percent:.1f} %, at most"
                f" {tolerance.volume_percent:g} % is allowed"
            )
        return "; ".join(problems)

    @property
    def key(self) -> tuple[str, Precision, Views]:
        """Library, precision and views. Two measurements with the same key can be compared."""
        return self.library, self.precision, self.views

    def is_known_violation(self, known: Parity) -> bool:
        """Return whether an earlier measurement recorded a violation of about the same size."""
        is_similar = self.share_of_tolerance <= _KNOWN_VIOLATION_FACTOR * known.share_of_tolerance
        return self.key == known.key and bool(known.violation) and is_similar

    def __str__(self) -> str:
        """Return the measurement and the tolerance in one line."""
        tolerance = TOLERANCES[self.precision]
        min_dice = f" (minimum {tolerance.mask_dice:g})" if tolerance.mask_dice else ""
        max_volume = _maximum(tolerance.volume_percent, " %")
        max_probability = _maximum(tolerance.probability)
        emulated = ", emulated" if self.emulated else ""
        parts = [
            f"{self.precision}, {count_noun(self.views, 'view')}, {self.backend}{emulated},"
            f" {self.slices} slices of {self.data}: mask Dice {self.mask_dice:.4f}{min_dice}",
            f"volume difference {self.volume_percent:.2f} %{max_volume}",
            f"probability difference up to {self.max_abs_difference:.1e}{max_probability}",
        ]
        is_beyond = (
            self.mask_dice < tolerance.mask_dice or self.volume_percent > tolerance.volume_percent
        )
        if is_beyond and not self.violation:
            parts.append(f"accepted: at most {_ROUNDING_PX} pixels differ, as by rounding")
        if self.not_compared:
            parts.append(f"{', '.join(self.not_compared)} not compared: both masks are empty")
        return ", ".join(parts)


def _maximum(limit: float, unit: str = "") -> str:
    return f" (maximum {limit:g}{unit})" if limit < math.inf else ""
