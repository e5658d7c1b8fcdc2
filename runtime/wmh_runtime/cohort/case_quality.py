"""The quality of the image that was segmented."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wmh_runtime.dataset.case import Case
from wmh_runtime.image_quality.measure import QualityMeasure
from wmh_runtime.image_quality.quality import measure_quality
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.postprocessing.postprocess import Segmentation

_FLAIR = "flair"  # the bounds are those of FLAIR scans


def quality_of_case(case: Case, scan: Scan, segmentation: Segmentation) -> Sequence[QualityMeasure]:
    """Measure the quality of a scan; nothing if it is no FLAIR.

    Args:
        case: that was segmented.
        scan: its first image.
        segmentation: of the scan.
    """
    if case.channel != _FLAIR:
        return ()
    lesions = np.zeros(scan.shape, np.bool_)
    for result in segmentation.results:
        lesions |= result.lesions.labels > 0
    return measure_quality(scan, segmentation.head, segmentation.regions, lesions)
