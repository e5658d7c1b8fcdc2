"""Reliability: bins counted by hand."""

import numpy as np
import pytest

from wmh_runtime.bundle.calibration import Calibration, OperatingPoint, ReliabilityBin
from wmh_runtime.imageio.reference_masks import Reference
from wmh_runtime.postprocessing.lesions import Output
from wmh_train.calibration.reliability import count_bins, reliability


def line(*values, dtype=np.float32):
    return np.array(values, dtype).reshape(-1, 1, 1)


def test_voxels_are_binned_by_probability_over_all_scans():
    scans = [
        # 0.04 is below the lowest bin; the third 0.7 is ignored
        (line(0.04, 0.72, 0.74, 0.7), line(1, 1, 0, 0), line(0, 0, 0, 1)),
        (line(0.06, 0.76, 1.0), line(0, 1, 1), line(0, 0, 0)),
    ]
    counts = [
        count_bins(probability, Reference(lesion.astype(bool), ignored.astype(bool)))
        for probability, lesion, ignored in scans
    ]
    assert reliability(counts) == [
        ReliabilityBin(voxels=1, mean_probability=0.06, lesion_share=0),
        ReliabilityBin(voxels=3, mean_probability=0.74, lesion_share=0.6667),
        ReliabilityBin(voxels=1, mean_probability=1, lesion_share=1),
    ]


def test_the_calibration_error_is_the_mean_difference_by_voxel():
    output = Output(name="wmh", threshold=0.5, min_lesion_mm3=0)
    calibration = Calibration(
        operating_points=[
            OperatingPoint(views=8, outputs=[output], mean_dice=[1], mean_lesion_f1=[1])
        ],
        scans=2,
        reliability=[
            [
                ReliabilityBin(voxels=30, mean_probability=0.2, lesion_share=0.1),
                ReliabilityBin(voxels=10, mean_probability=0.6, lesion_share=0.9),
            ]
        ],
    )
    # (30 · 0.1 + 10 · 0.3) / 40
    assert calibration.calibration_errors == [pytest.approx(0.15)]
