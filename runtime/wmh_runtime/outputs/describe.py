"""Describe a segmentation: from arrays in memory to the sidecar of one output."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
from nibabel.affines import apply_affine

from wmh_runtime.image_quality.measure import QualityMeasure
from wmh_runtime.imageio.nifti_header import SpacingMm
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.settings import Provenance, Settings
from wmh_runtime.outputs.sidecar import (
    AtlasInput,
    ChannelInput,
    Lesion,
    LocationResult,
    ManualMask,
    QualityResult,
    RegionResult,
    RegistrationResult,
    Sidecar,
)
from wmh_runtime.postprocessing.lesion_details import describe_lesions
from wmh_runtime.postprocessing.parcellation import LesionRegion
from wmh_runtime.postprocessing.postprocess import OutputResult, Segmentation
from wmh_runtime.preprocessing.registration import Registration

_LIBRARIES = ("wmh-lora", "numpy", "nibabel", "connected-components-3d")


@dataclass(frozen=True)
class CaseInputs:
    """What a result was made from, besides the network.

    Attributes:
        images: by channel; the first one has the grid of the result.
        sources: names or URIs of the images.
        registrations: of further images, by channel.
        atlas: that the lesions were located in; None: none.
        manual: masks that were taken instead of the network's, by output.
        quality: of the first image.
        seconds: by stage.
        versions: of the images in object storage, by channel.
    """

    images: Mapping[str, Scan]
    sources: Sequence[str]
    registrations: Mapping[str, Registration] = field(default_factory=dict)
    atlas: AtlasInput | None = None
    manual: Mapping[str, ManualMask] = field(default_factory=dict)
    quality: Sequence[QualityMeasure] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def scan(self) -> Scan:
        """The image that has the grid of the result."""
        return next(iter(self.images.values()))


def describe_result(
    inputs: CaseInputs,
    segmentation: Segmentation,
    result: OutputResult,
    settings: Settings,
    provenance: Provenance,
    mask_sha256: str,
) -> Sidecar:
    """Describe one output of a segmentation.

    Args:
        inputs: of the case.
        segmentation: with the result.
        result: of the output.
        settings: of the output.
        provenance: of the run.
        mask_sha256: of the mask file.
    """
    scan, lesions, burden = inputs.scan, result.lesions, result.burden
    voxel_ml = scan.voxel_volume_mm3 / 1000
    share = burden.percent_of_brain
    manual = inputs.manual.get(settings.output.name)
    is_full, some = settings.tta == "full", segmentation.slices_in_all_views
    return Sidecar(
        Description=f"{settings.output.name.upper()} lesion mask on the grid of the input",
        SpatialReference="orig",
        Sources=[*inputs.sources, *([manual.file] if manual else [])],
        input_sha256=scan.sha256,
        voxel_size_mm=_rounded_mm(scan.spacing_mm, digits=4),
        channels={channel: _channel(channel, inputs) for channel in inputs.images},
        mask_sha256=mask_sha256,
        manual=manual,
        settings=settings,
        atlas=inputs.atlas,
        volume_ml=round(lesions.volume_ml, 4),
        lesion_count=lesions.count,
        lesions=_lesions(scan, result),
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
        regions=_regions(result),
        quality=list(map(QualityResult.of, inputs.quality)),
        planes=list(segmentation.planes),
        slices=segmentation.slice_count,
        slices_executed=segmentation.slices_run,
        slices_in_all_views=segmentation.slices_run if is_full else some,
        warnings=[
            *segmentation.warnings,
            *(measure.warning for measure in inputs.quality if measure.is_flagged),
        ],
        model_warnings=[] if manual else list(provenance.warnings),
        versions={
            "python": platform.python_version(),
            **{library: version(library) for library in _LIBRARIES},
            **({"SimpleITK": version("SimpleITK")} if inputs.registrations else {}),
            **provenance.versions,
        },
        seconds={stage: round(duration, 4) for stage, duration in inputs.seconds.items()},
    )


def _channel(channel: str, inputs: CaseInputs) -> ChannelInput:
    image, registration = inputs.images[channel], inputs.registrations.get(channel)
    return ChannelInput(
        file=image.path.name,
        sha256=image.sha256,
        version=inputs.versions.get(channel, ""),
        registration=RegistrationResult.of(registration) if registration else None,
    )


def _lesions(scan: Scan, result: OutputResult) -> list[Lesion]:
    """Describe each lesion, the largest first."""
    lesions, burden = result.lesions, result.burden
    unknown: Sequence[str | None] = [None] * lesions.count
    no_region: Sequence[LesionRegion | None] = [None] * lesions.count
    return [
        Lesion(
            volume_mm3=round(float(volume), 3),
            center_ras_mm=tuple(center),
            location=place,
            side=side,
            atlas_region=region.name if region else None,
            atlas_share=round(region.share, 4) if region else None,
            extent_mm=_rounded_mm(detail.extent_mm, digits=2),
            mean_probability=round(detail.mean_probability, 4),
            largest_slice=detail.largest_slice,
        )
        for volume, center, place, side, region, detail in zip(
            lesions.volumes_mm3,
            np.round(apply_affine(scan.affine, lesions.centers_vox), 1).tolist(),
            burden.location_of_lesions or unknown,
            burden.side_of_lesions or unknown,
            burden.atlas_of_lesions or no_region,
            describe_lesions(lesions, result.probability, scan.affine),
            strict=True,
        )
    ]


def _regions(result: OutputResult) -> list[RegionResult]:
    return [
        RegionResult(
            scheme=load.scheme,
            region=load.region,
            side=load.side,
            region_ml=None if load.region_ml is None else round(load.region_ml, 4),
            lesion_ml=round(load.lesion_ml, 4),
            lesion_count=load.lesion_count,
        )
        for load in result.burden.loads
    ]


def _rounded_mm(lengths_mm: SpacingMm, digits: int) -> SpacingMm:
    first, second, third = (round(length, digits) for length in lengths_mm)
    return first, second, third
