"""All measures of a scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from wmh_runtime.image_quality import criteria
from wmh_runtime.image_quality.bias import bias_percent
from wmh_runtime.image_quality.field_of_view import largest_cut_percent
from wmh_runtime.image_quality.ghosting import ghosting_percent
from wmh_runtime.image_quality.interleaving import slice_brightness_percent, slice_motion_mm
from wmh_runtime.image_quality.measure import QualityMeasure
from wmh_runtime.image_quality.noise import noise_percent
from wmh_runtime.image_quality.slices import Slices
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.types import Mask


def measure_quality(
    scan: Scan,
    head: Mask,
    regions: Mapping[str, Mask],
    lesions: NDArray[Any],
    background: Mask | None = None,
) -> tuple[QualityMeasure, ...]:
    """Measure the quality of a FLAIR scan; always the same measures in the same order.

    Multiplying the intensities by a positive factor changes nothing, nor does another order of the
    voxels on the same grid. What cannot be measured is None: cuts and ghosts without the region of
    the brain, ghosts without air, and everything that compares intensities without the region of
    white matter, or if they have an offset, as after z-scoring.

    Args:
        scan: as acquired, or brain-extracted.
        head: (x, y, z), on its grid, as the masks below.
        regions: by name, as of a segmentation; may be empty.
        lesions: mask or labels, not 0 in lesions; left out of white matter.
        background: constant, not measured; None: it is found.
    """
    slices = Slices.of(scan, head, regions, lesions, background)
    cut, side = largest_cut_percent(slices)
    return (
        criteria.NOISE.judge(noise_percent(slices)),
        criteria.GHOSTING.judge(ghosting_percent(slices)),
        criteria.SLICE_MOTION.judge(slice_motion_mm(slices)),
        criteria.SLICE_BRIGHTNESS.judge(slice_brightness_percent(slices)),
        criteria.FIELD_OF_VIEW.judge(cut, side),
        criteria.BIAS.judge(bias_percent(slices)),
    )
