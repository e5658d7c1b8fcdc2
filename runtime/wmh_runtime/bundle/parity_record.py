"""Parity: how far what executes is from the network that was trained, and how far it may be."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import Field

from wmh_runtime.precision import Precision
from wmh_runtime.schema import StrictModel
from wmh_runtime.text import count_noun
from wmh_runtime.tta import Views
from wmh_runtime.types import Data


@dataclass(frozen=True)
class Bound:
    """How far a precision may be from the network."""

    probability: float = math.inf  # largest absolute difference
    mask_dice: float = 0.0  # least
    volume_percent: float = math.inf  # largest difference of the masks' volume


# The one place of them.
BOUNDS: dict[Precision, Bound] = {
    "fp32": Bound(probability=1e-4),
    "fp16": Bound(mask_dice=0.999),
    "bf16": Bound(mask_dice=0.99, volume_percent=2),
    "int8": Bound(mask_dice=0.99, volume_percent=2),
    "int8+bf16": Bound(mask_dice=0.99, volume_percent=2),
}
# A few pixels at the borders of small lesions are rounding: so many at most, of masks that are
# nearly the same all the same.
_ROUNDING_PX, _ROUNDING_DICE = 4, 0.8
_SAME_SHORTFALL = 2.0  # times as far beyond the bound as was recorded; farther is another error


class OutputParity(StrictModel):
    """The thresholded masks of one output, slices pooled."""

    name: str
    reference_ml: float = Field(ge=0, description="volume of the network's masks")
    found_ml: float = Field(ge=0)
    mask_dice: float = Field(ge=0, le=1)
    differing_pixels: int = Field(ge=0)

    @property
    def is_compared(self) -> bool:
        """Whether there was anything to agree on: two empty masks prove nothing."""
        return self.reference_ml > 0 or self.found_ml > 0

    @property
    def is_rounding(self) -> bool:
        """Whether the masks differ by no more than rounding does."""
        return self.differing_pixels <= _ROUNDING_PX and (
            self.mask_dice >= _ROUNDING_DICE or not self.is_compared
        )

    @property
    def volume_percent(self) -> float:
        """The difference of volume, unsigned, in per cent of the network's."""
        if self.reference_ml == 0:
            return math.inf if self.found_ml else 0.0
        return 100 * abs(self.found_ml - self.reference_ml) / self.reference_ml


class Parity(StrictModel):
    """How far what executes is from the network, as measured."""

    backend: str = Field(description="what executed, with its version and device")
    precision: Precision
    views: Views
    emulated: bool = Field(description="computed in wider arithmetic than the precision's own")
    data: Data
    slices: int = Field(ge=1)
    max_abs_difference: float = Field(ge=0, description="of probability")
    mean_abs_difference: float = Field(ge=0, description="of probability")
    outputs: list[OutputParity] = Field(min_length=1)

    @property
    def library(self) -> str:
        """The name of what executed."""
        return self.backend.split()[0]

    @property
    def mask_dice(self) -> float:
        """The lowest Dice of the outputs that were compared."""
        return min(output.mask_dice for output in self.outputs if output.is_compared)

    @property
    def volume_percent(self) -> float:
        """The largest difference of volume of an output, unsigned."""
        return max(output.volume_percent for output in self.outputs)

    @property
    def not_compared(self) -> list[str]:
        """The outputs of which neither found anything."""
        return [output.name for output in self.outputs if not output.is_compared]

    @property
    def share_of_bound(self) -> float:
        """How much of its precision's bound it uses up; beyond it above 1."""
        bound = BOUNDS[self.precision]
        shares = [self.max_abs_difference / bound.probability]
        for output in self._judged:
            shares.append((1 - output.mask_dice) / (1 - bound.mask_dice))
            shares.append(output.volume_percent / bound.volume_percent)
        return max(shares)

    @property
    def _judged(self) -> list[OutputParity]:
        """The outputs whose masks differ by more than rounding."""
        return [output for output in self.outputs if not output.is_rounding]

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
        mask_dice = min((output.mask_dice for output in self._judged), default=1.0)
        if mask_dice < bound.mask_dice:
            beyond.append(f"mask Dice is {mask_dice:.4f}, at least {bound.mask_dice:g} is asked")
        volume_percent = max((output.volume_percent for output in self._judged), default=0.0)
        if volume_percent > bound.volume_percent:
            beyond.append(
                f"volume differs by {volume_percent:.1f} %, at most"
                f" {bound.volume_percent:g} % is allowed"
            )
        return "; ".join(beyond)

    @property
    def kind(self) -> tuple[str, Precision, Views]:
        """What makes two measurements comparable: library, precision and views."""
        return self.library, self.precision, self.views

    def is_known_to_fall_short(self, known: Parity) -> bool:
        """Say whether an earlier measurement of the same kind was as far beyond the bound."""
        no_farther = self.share_of_bound <= _SAME_SHORTFALL * known.share_of_bound
        return self.kind == known.kind and bool(known.shortfall) and no_farther

    def __str__(self) -> str:
        """Say it in a line."""
        bound = BOUNDS[self.precision]
        asked = f" ({bound.mask_dice:g} asked)" if bound.mask_dice else ""
        off = f" ({bound.volume_percent:g} allowed)" if bound.volume_percent < math.inf else ""
        most = f" ({bound.probability:g} allowed)" if bound.probability < math.inf else ""
        parts = [
            f"{self.precision}, {count_noun(self.views, 'view')},"
            f" {self.backend}{', emulated' * self.emulated},"
            f" {self.slices} slices of {self.data}: mask Dice {self.mask_dice:.4f}{asked}",
            f"volume {self.volume_percent:.2f} % off{off}",
            f"probability {self.max_abs_difference:.1e} off at most{most}",
        ]
        if self.not_compared:
            parts.append(f"{', '.join(self.not_compared)} not compared: nothing is found of it")
        return ", ".join(parts)
