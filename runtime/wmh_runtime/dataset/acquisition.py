"""What the JSON file beside a scan says of its acquisition, with the names of BIDS."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from wmh_runtime.dataset.bids import sidecar_of
from wmh_runtime.files.reading import read_model

_TOLERANCE = 0.05  # relative: a scanner of 3 T may be said to have 2.89 T


class Acquisition(BaseModel):
    """The parameters that decide the contrast of a scan; None: not known."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    manufacturer: str | None = Field(default=None, alias="Manufacturer")
    scanner: str | None = Field(default=None, alias="ManufacturersModelName")
    field_t: float | None = Field(default=None, alias="MagneticFieldStrength")
    dimensions: str | None = Field(default=None, alias="MRAcquisitionType", description="2D or 3D")
    repetition_s: float | None = Field(default=None, alias="RepetitionTime")
    echo_s: float | None = Field(default=None, alias="EchoTime")
    inversion_s: float | None = Field(default=None, alias="InversionTime")

    def differences(self, other: Acquisition) -> Iterator[str]:
        """Yield the parameters that are known of both and differ: "EchoTime 0.09 and 0.12"."""
        for name, field in type(self).model_fields.items():
            values = getattr(self, name), getattr(other, name)
            if None not in values and not _is_alike(*values):
                yield f"{field.alias} {values[0]} and {values[1]}"


def read_acquisition(scan: Path) -> Acquisition:
    """Read the JSON file beside a scan; nothing is known if it is missing or cannot be read."""
    return read_model(sidecar_of(scan), Acquisition) or Acquisition()


def _is_alike(one: str | float, other: str | float) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return str(one).strip().casefold() == str(other).strip().casefold()
    return math.isclose(one, other, rel_tol=_TOLERANCE)
