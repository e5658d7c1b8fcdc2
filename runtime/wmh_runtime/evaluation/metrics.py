"""Agreement of a mask with a reference mask, as defined by the WMH challenge.

Dice, H95, AVD, lesion recall and lesion F1 are the five metrics of the WMH segmentation challenge
(MICCAI 2017; Kuijf et al. 2019, doi 10.1109/TMI.2019.2905770), computed as by its evaluation
program. Lesion precision, voxel precision, voxel recall and IoU are computed in addition. For
empty masks, where the formulas are undefined, the values are:

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

from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.imageio.reference_masks import Reference
from wmh_runtime.overlap import dice
from wmh_runtime.postprocessing.lesions import label_components
from wmh_runtime.types import Mask

LESION_THRESHOLD = 0.5  # for predictions; 1 if these are integers
_H95_PERCENTILE = 95


@dataclass(frozen=True)
class MaskMetrics:
    """Metrics of one mask. Metrics without a unit are in [0, 1], 1 is best."""

    dice: float
    h95_mm: float  # 95th percentile of the Hausdorff distance; 0 is best
    avd_percent: float  # absolute volume difference, in % of the reference; 0 is best
    lesion_recall: float
    lesion_precision: float
    lesion_f1: float
    precision: float  # of voxels
    recall: float  # of voxels (sensitivity)
    iou: float
    reference_ml: float
    prediction_ml: float
    reference_lesions: int
    predicted_lesions: int


def compare_masks(prediction: NDArray[Any], reference: Reference, affine: Affine) -> MaskMetrics:
    """Compute the metrics of a mask and a reference on the same grid.

    Voxels that the reference labels as other pathology are first removed from the prediction.

    Args:
        prediction: (x, y, z), Boolean, integer or probability; lesion from 0.5.
        reference: same shape.
        affine: (4, 4), voxel index to RAS+ mm.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != reference.lesion.shape:
        raise ValueError(f"got shape {prediction.shape}, expected {reference.lesion.shape}")
    true = reference.lesion
    predicted = (prediction >= LESION_THRESHOLD) & ~reference.ignored
    n_true, n_predicted = int(true.sum()), int(predicted.sum())
    n_common = int((true & predicted).sum())
    detected, true_lesions = count_detected_lesions(true, predicted)
    correct, predicted_lesions = count_detected_lesions(predicted, true)
    lesion_recall = ratio(detected, true_lesions)
    lesion_precision = ratio(correct, predicted_lesions)
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    return MaskMetrics(
        dice=dice(n_common, n_true, n_predicted),
        h95_mm=hausdorff_95_mm(true, predicted, affine),
        avd_percent=volume_difference_percent(n_predicted, n_true),
        lesion_recall=lesion_recall,
        lesion_precision=lesion_precision,
        lesion_f1=lesion_f1(lesion_recall, lesion_precision),
        precision=ratio(n_common, n_predicted),
        recall=ratio(n_common, n_true),
        iou=ratio(n_common, n_true + n_predicted - n_common),
        reference_ml=n_true * voxel_ml,
        prediction_ml=n_predicted * voxel_ml,
        reference_lesions=true_lesions,
        predicted_lesions=predicted_lesions,
    )


def ratio(part: float, whole: float) -> float:
    """Return part / whole; 1.0 if the whole is 0, because then nothing is missed or false."""
    return part / whole if whole else 1.0


def volume_difference_percent(predicted: float, true: float) -> float:
    """Return |V_true − V_predicted| / V_true · 100 from volumes or voxel counts.

    Returns:
        0.0 if both are 0, NaN if only `true` is 0.
    """
    if true:
        return 100 * abs(true - predicted) / true
    return math.nan if predicted else 0.0


def count_detected_lesions(mask: Mask, other: Mask) -> tuple[int, int]:
    """Count the lesions of a mask that share a voxel with another mask, and all its lesions.

    Args:
        mask: (x, y, z); its lesions are the 26-connected components.
        other: (x, y, z).

    Returns:
        Number of lesions with a common voxel, and number of all lesions.
    """
    labels = label_components(mask)
    return len(np.unique(labels[mask & other])), int(labels.max(initial=0))


def lesion_f1(recall: float, precision: float) -> float:
    """Return the harmonic mean of lesion recall and precision; 0.0 if both are 0."""
    total = recall + precision
    return 2 * recall * precision / total if total else 0.0


def hausdorff_95_mm(first: Mask, second: Mask, affine: Affine) -> float:
    """Return the 95th percentile of the Hausdorff distance between the borders of two masks.

    For every border voxel of one mask, the distance to the nearest border voxel of the other mask
    is computed, and then the 95th percentile of these distances, with linear interpolation. The
    result is the larger value of the two directions.

    Args:
        first: (x, y, z).
        second: (x, y, z).
        affine: (4, 4), voxel index to RAS+ mm.

    Returns:
        mm; NaN if a mask has no border, for example if it is empty.
    """
    from scipy.spatial import KDTree

    slice_axis = axial_reorientation(affine).axes[0]
    a, b = (
        np.argwhere(border(mask, slice_axis)) @ affine[:3, :3].T + affine[:3, 3]
        for mask in (first, second)
    )
    if not (len(a) and len(b)):
        return math.nan
    distances_mm = KDTree(b).query(a)[0], KDTree(a).query(b)[0]
    return max(float(np.percentile(direction, _H95_PERCENTILE)) for direction in distances_mm)


def border(mask: Mask, slice_axis: int) -> Mask:
    """Return the voxels of a mask that have a neighbor outside the mask in their slice.

    Neighbors share an edge or a corner (3 × 3). Voxels outside the image count as inside the mask.
    The challenge program slices along the third axis, which is the axial one in its scans. Here
    the axial axis is a parameter, because scans are stored in different orientations.

    Args:
        mask: (x, y, z).
        slice_axis: axis across slices: 0, 1 or 2.
    """
    from scipy.ndimage import binary_erosion

    shape = [3, 3, 3]
    shape[slice_axis] = 1
    inside: Mask = binary_erosion(mask, np.ones(shape, bool), border_value=1)
    return mask & ~inside
