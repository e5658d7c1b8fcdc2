"""How well a mask agrees with a reference, by the definitions of the WMH challenge.

The five figures of the WMH segmentation challenge (MICCAI 2017; Kuijf et al. 2019, doi
10.1109/TMI.2019.2905770) are those its own scorer computes: Dice, H95, AVD, lesion recall and
lesion F1. Voxel precision, recall and IoU come beside them. Empty masks, for which the formulas
have no value, follow one convention:

    empty            Dice, IoU  precision  recall  AVD    H95  lesion recall  precision  F1
    both             1          1          1       0 %    NaN  1              1          1
    the reference    0          0          1       NaN    NaN  1              0          0
    the prediction   0          1          0       100 %  NaN  0              1          0
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.evaluation.reference_masks import Reference
from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.imageio.orientation import reorientation_to
from wmh_runtime.overlap import dice
from wmh_runtime.postprocessing.lesions import label_components
from wmh_runtime.types import Mask

LESION_FROM = 0.5  # in a prediction; for whole numbers that is 1
_H95_PERCENTILE = 95


@dataclass(frozen=True)
class MaskMetrics:
    """The agreement of one mask with its reference; shares are in [0, 1], 1 is best."""

    dice: float
    h95_mm: float  # 95th percentile of the Hausdorff distance; 0 is best
    avd_percent: float  # absolute volume difference, of the reference; 0 is best
    lesion_recall: float
    lesion_precision: float
    lesion_f1: float
    precision: float  # of voxels
    recall: float  # of voxels, sensitivity
    iou: float
    reference_ml: float
    prediction_ml: float
    reference_lesions: int
    predicted_lesions: int


def compare_masks(prediction: NDArray[Any], reference: Reference, affine: Affine) -> MaskMetrics:
    """Measure a mask against a reference on the same grid.

    What the reference marks as other pathology is removed from the prediction first.

    Args:
        prediction: (x, y, z), truths, whole numbers or shares; lesion from 0.5.
        reference: of the same shape.
        affine: (4, 4), voxel index to RAS+ mm.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != reference.lesion.shape:
        raise ValueError(f"got shape {prediction.shape}, expected {reference.lesion.shape}")
    truth = reference.lesion
    found = (prediction >= LESION_FROM) & ~reference.ignored
    n_truth, n_found = int(truth.sum()), int(found.sum())
    n_common = int((truth & found).sum())
    lesions_found, lesions = count_touched(truth, found)
    hits, detections = count_touched(found, truth)
    lesion_recall, lesion_precision = share(lesions_found, lesions), share(hits, detections)
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    return MaskMetrics(
        dice=dice(n_common, n_truth, n_found),
        h95_mm=hausdorff_95_mm(truth, found, affine),
        avd_percent=volume_difference_percent(n_found, n_truth),
        lesion_recall=lesion_recall,
        lesion_precision=lesion_precision,
        lesion_f1=lesion_f1(lesion_recall, lesion_precision),
        precision=share(n_common, n_found),
        recall=share(n_common, n_truth),
        iou=share(n_common, n_truth + n_found - n_common),
        reference_ml=n_truth * voxel_ml,
        prediction_ml=n_found * voxel_ml,
        reference_lesions=lesions,
        predicted_lesions=detections,
    )


def share(part: float, whole: float) -> float:
    """Return part / whole, 1.0 where there is no whole: nothing was missed, nothing false."""
    return part / whole if whole else 1.0


def volume_difference_percent(predicted: float, true: float) -> float:
    """Return |V_true − V_predicted| / V_true · 100 from volumes or voxel counts.

    Returns:
        0.0 where both are 0, NaN where only `true` is.
    """
    if true:
        return 100 * abs(true - predicted) / true
    return math.nan if predicted else 0.0


def count_touched(mask: Mask, other: Mask) -> tuple[int, int]:
    """Count the lesions of a mask that share a voxel with another mask, and all of its lesions.

    Args:
        mask: (x, y, z), whose 26-connected components are the lesions.
        other: (x, y, z).
    """
    labels = label_components(mask)
    return len(np.unique(labels[mask & other])), int(labels.max(initial=0))


def lesion_f1(recall: float, precision: float) -> float:
    """Return the harmonic mean of lesion recall and precision; 0.0 where both are 0."""
    total = recall + precision
    return 2 * recall * precision / total if total else 0.0


def hausdorff_95_mm(first: Mask, second: Mask, affine: Affine) -> float:
    """Return the 95th percentile of the Hausdorff distance between the borders of two masks.

    From every border voxel of one mask the distance to the nearest of the other is taken, and
    the 95th percentile of these, interpolated linearly; the larger of the two ways counts.

    Args:
        first: (x, y, z).
        second: (x, y, z).
        affine: (4, 4), voxel index to RAS+ mm.

    Returns:
        mm; NaN where a mask has no border, as an empty one.
    """
    from scipy.spatial import KDTree

    slice_axis = reorientation_to("axial", affine).axes[0]
    a, b = (
        np.argwhere(border(mask, slice_axis)) @ affine[:3, :3].T + affine[:3, 3]
        for mask in (first, second)
    )
    if not (len(a) and len(b)):
        return math.nan
    distances_mm = KDTree(b).query(a)[0], KDTree(a).query(b)[0]
    return max(float(np.percentile(way, _H95_PERCENTILE)) for way in distances_mm)


def border(mask: Mask, slice_axis: int) -> Mask:
    """Return the voxels of a mask that have a neighbor outside it within their slice.

    Neighbors share an edge or a corner (3 × 3). What lies beyond the image counts as inside.
    The challenge's scorer slices along the third axis, which is the axial one of its scans; here
    the axial one is named, wherever it is stored.

    Args:
        mask: (x, y, z).
        slice_axis: 0, 1 or 2.
    """
    from scipy.ndimage import binary_erosion

    shape = [3, 3, 3]
    shape[slice_axis] = 1
    inside: Mask = binary_erosion(mask, np.ones(shape, bool), border_value=1)
    return mask & ~inside
