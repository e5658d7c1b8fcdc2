"""The quality-control image of one output of a scan: what it says, and its file format."""

from __future__ import annotations

from collections.abc import Mapping

from wmh_runtime.dataset.image_formats import image_stem
from wmh_runtime.figures.page import encode_png
from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.pictures.qc_page import OUTLINED_REGIONS, QcCaption, draw_quality_control
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.postprocessing.postprocess import OutputResult
from wmh_runtime.text import count_noun
from wmh_runtime.types import Mask


def qc_image(
    scan: Scan,
    head: Mask,
    result: OutputResult,
    regions: Mapping[str, Mask],
    sidecar: Sidecar,
    others: Mapping[str, Scan],
) -> bytes:
    """Draw the quality-control image of one output of a scan, PNG.

    Args:
        scan: that was segmented.
        head: (x, y, z).
        result: of the output.
        regions: (x, y, z); brain, ventricles, and cerebellum with brain stem are outlined.
        sidecar: of the output.
        others: further images on the grid of the scan, by channel.
    """
    to_display = axial_reorientation(scan.affine)
    row_mm, column_mm = (scan.spacing_mm[axis] for axis in to_display.axes[1:])
    image = draw_quality_control(
        to_display.apply(scan.voxels),
        to_display.apply(head),
        to_display.apply(result.lesions.labels) > 0,
        (row_mm, column_mm),
        _caption(scan, result, sidecar),
        {
            words: to_display.apply(regions[name])
            for name, words in OUTLINED_REGIONS.items()
            if name in regions
        },
        {
            f"{channel.upper()}: {image_stem(image.path)}": to_display.apply(image.voxels)
            for channel, image in others.items()
        },
    )
    return encode_png(image)


def _caption(scan: Scan, result: OutputResult, sidecar: Sidecar) -> QcCaption:
    limits = (
        f"threshold {result.output.threshold:g}",
        f"minimum lesion size {result.output.min_lesion_mm3:g} mm³",
    )
    return QcCaption(
        title=image_stem(scan.path),
        facts=(
            f"{sidecar.volume_ml:.2f} mL",
            count_noun(sidecar.lesion_count, "lesion"),
            *sidecar.burden_facts,
            *sidecar.registration_facts,
            *(() if sidecar.manual else limits),
            f"model {sidecar.settings.bundle}",
        ),
        warnings=(*sidecar.warnings, *sidecar.model_warnings),
    )
