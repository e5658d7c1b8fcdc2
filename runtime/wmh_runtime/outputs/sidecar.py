"""The sidecar: a JSON file beside each mask that says what was found, and how it was made."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Self

import numpy as np
from nibabel.affines import apply_affine
from pydantic import Field, ValidationError

from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.image_quality.measure import QualityMeasure
from wmh_runtime.imageio.nifti_header import SpacingMm
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.paths import is_file
from wmh_runtime.outputs.settings import Provenance, Settings
from wmh_runtime.postprocessing.lesion_details import describe_lesions
from wmh_runtime.postprocessing.parcellation import LesionRegion
from wmh_runtime.postprocessing.postprocess import OutputResult, Segmentation
from wmh_runtime.preprocessing.registration import Registration
from wmh_runtime.preprocessing.slices.planes import Plane
from wmh_runtime.schema import StrictModel

_LIBRARIES = ("wmh-lora", "numpy", "nibabel", "connected-components-3d")


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

    file: str
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
    warnings: list[str]
    versions: dict[str, str] = Field(description="of Python and the libraries used")
    seconds: dict[str, float] = Field(description="by stage")

    @classmethod
    def from_result(
        cls,
        images: Mapping[str, Scan],
        segmentation: Segmentation,
        result: OutputResult,
        settings: Settings,
        provenance: Provenance,
        seconds: Mapping[str, float],
        *,
        mask_sha256: str,
        sources: Sequence[str],
        registrations: Mapping[str, Registration],
        atlas: AtlasInput | None,
        manual: ManualMask | None = None,
        quality: Sequence[QualityMeasure] = (),
    ) -> Sidecar:
        """Describe one output of a segmentation; the warnings of the scan come first.

        Args:
            images: that were segmented, by channel; the first one has the grid of the mask.
            segmentation: with the result.
            result: of the output.
            settings: of the output.
            provenance: of the run.
            seconds: by stage.
            mask_sha256: of the mask file.
            sources: names or URIs of the images.
            registrations: of images, by channel.
            atlas: that the segmentation has the lesions by region of; None: none.
            manual: the mask that the result is of; None: the network's own.
            quality: of the first image.
        """
        scan = next(iter(images.values()))
        lesions, burden = result.lesions, result.burden
        unknown: Sequence[str | None] = [None] * lesions.count
        where = burden.location_of_lesions or unknown
        sides = burden.side_of_lesions or unknown
        in_atlas: Sequence[LesionRegion | None] = burden.atlas_of_lesions or (
            [None] * lesions.count
        )
        voxel_ml = scan.voxel_volume_mm3 / 1000
        share = burden.percent_of_brain
        is_full, some = settings.tta == "full", segmentation.slices_in_all_views
        centers_mm = np.round(apply_affine(scan.affine, lesions.centers_vox), 1)
        details = describe_lesions(lesions, result.probability, scan.affine)
        return cls(
            Description=f"{settings.output.name.upper()} lesion mask on the grid of the input",
            SpatialReference="orig",
            Sources=list(sources),
            input_sha256=scan.sha256,
            voxel_size_mm=rounded_mm(scan.spacing_mm, digits=4),
            channels={
                channel: ChannelInput(
                    file=image.path.name,
                    sha256=image.sha256,
                    registration=RegistrationResult.of(registrations[channel])
                    if channel in registrations
                    else None,
                )
                for channel, image in images.items()
            },
            mask_sha256=mask_sha256,
            manual=manual,
            settings=settings,
            atlas=atlas,
            volume_ml=round(lesions.volume_ml, 4),
            lesion_count=lesions.count,
            lesions=[
                Lesion(
                    volume_mm3=round(float(volume), 3),
                    center_ras_mm=tuple(center),
                    location=place,
                    side=side,
                    atlas_region=region.name if region else None,
                    atlas_share=round(region.share, 4) if region else None,
                    extent_mm=rounded_mm(detail.extent_mm, digits=2),
                    mean_probability=round(detail.mean_probability, 4),
                    largest_slice=detail.largest_slice,
                )
                for volume, center, place, side, region, detail in zip(
                    lesions.volumes_mm3,
                    centers_mm.tolist(),
                    where,
                    sides,
                    in_atlas,
                    details,
                    strict=True,
                )
            ],
            regions_ml={
                name: round(int(np.count_nonzero(mask)) * voxel_ml, 2)
                for name, mask in segmentation.regions.items()
            },
            percent_of_brain=None if share is None else round(share, 4),
            locations={
                name: LocationResult(
                    volume_ml=round(found.volume_ml, 4), lesion_count=found.lesion_count
                )
                for name, found in burden.locations.items()
            },
            regions=[
                RegionResult(
                    scheme=load.scheme,
                    region=load.region,
                    side=load.side,
                    region_ml=None if load.region_ml is None else round(load.region_ml, 4),
                    lesion_ml=round(load.lesion_ml, 4),
                    lesion_count=load.lesion_count,
                )
                for load in burden.loads
            ],
            quality=list(map(QualityResult.of, quality)),
            planes=list(segmentation.planes),
            slices=segmentation.slice_count,
            slices_executed=segmentation.slices_run,
            slices_in_all_views=segmentation.slices_run if is_full else some,
            warnings=[
                *segmentation.warnings,
                *(measure.warning for measure in quality if measure.is_flagged),
                *provenance.warnings,
            ],
            versions={
                "python": platform.python_version(),
                **{library: version(library) for library in _LIBRARIES},
                **({"SimpleITK": version("SimpleITK")} if registrations else {}),
                **provenance.versions,
            },
            seconds={stage: round(duration, 4) for stage, duration in seconds.items()},
        )

    @property
    def scan_file(self) -> str:
        """Name of the file of the scan that has the grid of the mask."""
        return next((one.file for one in self.channels.values()), self.Sources[0])

    @property
    def burden_facts(self) -> list[str]:
        """Whose mask it is, share of the brain, and volume by location, as far as known."""
        facts = ["manual mask"] if self.manual else []
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


def rounded_mm(lengths_mm: SpacingMm, digits: int) -> SpacingMm:
    """Round three lengths."""
    first, second, third = (round(length, digits) for length in lengths_mm)
    return first, second, third


def read_sidecar(path: Path) -> Sidecar | None:
    """Return the sidecar in a file; None if it is not one of this version."""
    if not is_file(path):  # to open a pipe would block
        return None
    try:
        return Sidecar.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


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
