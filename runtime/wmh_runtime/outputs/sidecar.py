"""The sidecar: a JSON file beside each mask that says what was found, and how it was made."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field

from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.files.reading import read_model
from wmh_runtime.image_quality.measure import QualityMeasure
from wmh_runtime.outputs.settings import Settings
from wmh_runtime.preprocessing.registration import Registration
from wmh_runtime.preprocessing.slices.planes import Plane
from wmh_runtime.schema import StrictModel


class Lesion(StrictModel):
    """One connected component of a mask."""

    volume_mm3: float
    center_ras_mm: tuple[float, float, float]
    location: str | None = Field(default=None, description="where most of it lies")
    side: str | None = Field(default=None, description="left or right, of the symmetry plane")
    atlas_region: str | None = Field(default=None, description="of the atlas, most of it")
    atlas_share: float | None = Field(default=None, description="of the lesion, in that region")
    extent_mm: tuple[float, float, float] | None = Field(
        default=None, description="of its box: left–right, front–back, bottom–top of the patient"
    )
    mean_probability: float | None = Field(default=None, description="of its voxels")
    largest_slice: int | None = Field(
        default=None, description="axial slice with most of it, from 1 at the most inferior"
    )


class LocationResult(StrictModel):
    """The lesions in one location."""

    volume_ml: float
    lesion_count: int = Field(description="of which most lies here")


class RegionResult(StrictModel):
    """The lesions in one region, or in its left or right half."""

    scheme: str = Field(
        description="what divides the brain: location_10mm, location_3mm, brain, atlas"
    )
    region: str = Field(description="none: what no region covers")
    side: str = Field(description="left or right; empty: both")
    region_ml: float | None = Field(description="null: not known")
    lesion_ml: float
    lesion_count: int = Field(description="of which most lies here")


class RegistrationResult(StrictModel):
    """How an image was registered to the first one."""

    is_applied: bool = Field(description="false: the similarity did not rise, so it was not moved")
    degrees: float
    mm: float = Field(description="of the middle of the image")
    similarity_before: float = Field(description="mutual information in nats")
    similarity_after: float
    matrix: list[list[float]] = Field(description="4 × 4, RAS+ mm: where it was to where it is")

    @classmethod
    def of(cls, registration: Registration) -> Self:
        """Describe a registration."""
        before, after = registration.similarity
        return cls(
            is_applied=registration.is_applied,
            degrees=round(registration.degrees, 3),
            mm=round(registration.mm, 3),
            similarity_before=round(before, 4),
            similarity_after=round(after, 4),
            matrix=np.round(registration.matrix, 6).tolist(),
        )


class ChannelInput(StrictModel):
    """The image of one channel."""

    file: str
    sha256: str
    version: str = Field(default="", description="in object storage; empty: it was a file")
    registration: RegistrationResult | None = Field(
        default=None, description="to the image of the first channel"
    )


class AtlasInput(StrictModel):
    """The atlas that lesions were located in."""

    file: str
    sha256: str
    names_sha256: str = Field(default="", description="empty: no names were given")
    transform_sha256: str = Field(default="", description="empty: in the space of the scan")


class QualityResult(StrictModel):
    """One measure of the quality of the first image; docs/image-quality.md explains them."""

    name: str
    value: float | None = Field(description="null: cannot be measured in this image")
    unit: str
    lowest: float | None = Field(description="of what has no warning; null: no bound")
    highest: float | None = Field(description="likewise")
    warning: str = Field(description="empty: within the bounds")

    @classmethod
    def of(cls, measure: QualityMeasure) -> Self:
        """Describe a measure."""
        value = None if measure.value is None else round(measure.value, 3)
        return cls(**{**asdict(measure), "value": value})


class ManualMask(StrictModel):
    """A corrected mask that was taken instead of the network's."""

    file: str = Field(description="its name, or its URI in a BIDS data set")
    sha256: str


class Sidecar(StrictModel):
    """The result for one output of one scan."""

    schema_version: Literal[2] = 2
    Description: str
    Type: Literal["Lesion"] = Field(default="Lesion", description="BIDS: what a mask shows")
    SpatialReference: str = Field(description="BIDS: `orig`, the grid of the input itself")
    Sources: list[str] = Field(
        min_length=1,
        description="the first has the grid of the mask; file names, or URIs in a BIDS data set",
    )
    input_sha256: str = Field(description="of the first source")
    voxel_size_mm: tuple[float, float, float] | None = Field(
        default=None, description="of the mask; earlier results do not say it"
    )
    channels: dict[str, ChannelInput] = Field(
        default={}, description="what the model was given; results of version 0.1 do not say it"
    )
    mask_sha256: str = Field(description="of the mask file when it was written")
    manual: ManualMask | None = Field(
        default=None, description="the mask that all volumes are of; null: the network's own"
    )
    settings: Settings
    atlas: AtlasInput | None = Field(default=None, description="of the user")
    volume_ml: float
    lesion_count: int
    lesions: list[Lesion] = Field(description="largest first")
    regions_ml: dict[str, float] = Field(
        default={}, description="volumes of the brain and its regions"
    )
    percent_of_brain: float | None = Field(
        default=None, description="volume_ml in percent of the brain; null: not known"
    )
    locations: dict[str, LocationResult] = Field(
        default={}, description="where the lesions are, by voxels"
    )
    regions: list[RegionResult] = Field(
        default=[], description="in every scheme; the lesion volumes of a scheme add up to all"
    )
    quality: list[QualityResult] = Field(
        default=[], description="of the first image; empty if it is no FLAIR"
    )
    planes: list[Plane] = Field(default=["axial"], description="of the slices")
    slices: int = Field(description="in all planes")
    slices_executed: int = Field(
        description="the other slices show no head; their probability is 0"
    )
    slices_in_all_views: int = Field(
        description="of the executed slices; the others were executed in one view"
    )
    warnings: list[str] = Field(description="of this scan")
    model_warnings: list[str] = Field(default=[], description="of the model, for every scan")
    versions: dict[str, str] = Field(description="of Python and the libraries used")
    seconds: dict[str, float] = Field(description="by stage")

    @property
    def scan_file(self) -> str:
        """Name of the file of the scan that has the grid of the mask."""
        return next((one.file for one in self.channels.values()), self.Sources[0])

    @property
    def burden_facts(self) -> list[str]:
        """Whose mask it is, share of the brain, and volume by location, as far as known."""
        facts = ["corrected mask"] if self.manual else []
        if self.percent_of_brain is not None:
            facts.append(f"{self.percent_of_brain:.2f} % of the brain")
        if self.locations:
            parts = [f"{name} {found.volume_ml:.2f}" for name, found in self.locations.items()]
            facts.append(f"{', '.join(parts)} mL")
        return facts

    @property
    def registration_facts(self) -> list[str]:
        """How far each image was moved by its registration, in words."""
        return [
            f"{channel.upper()} moved by {one.mm:.1f} mm and {one.degrees:.1f}°"
            if one.is_applied
            else f"{channel.upper()} not moved"
            for channel, image in self.channels.items()
            if (one := image.registration) is not None
        ]


def read_sidecar(path: Path) -> Sidecar | None:
    """Return the sidecar in a file; None if it is not one of this version."""
    return read_model(path, Sidecar)


def is_as_written(mask: Path, sidecar: Sidecar) -> bool:
    """Return whether a mask is as this program wrote it, and was not changed by hand.

    Raises:
        OSError: the mask cannot be read.
    """
    return sha256_file(mask) == sidecar.mask_sha256


def is_unreadable_sidecar(path: Path) -> bool:
    """Return whether a file is a sidecar that is damaged, or of another version of this program.

    A JSON file of another program, such as a BIDS sidecar, is not.
    """
    if read_sidecar(path) is not None:
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return True
    return isinstance(content, dict) and "schema_version" in content
