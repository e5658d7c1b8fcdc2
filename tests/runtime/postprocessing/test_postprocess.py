"""From the outputs of a network to lesions and regions on the grid of the scan."""

import tracemalloc

import numpy as np

from tests.toys import as_scan
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.postprocessing.postprocess import postprocess
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess
from wmh_runtime.types import Prediction

REGIONS = ("brain", "ventricles", "white")


def test_regions_are_disjoint_and_within_the_brain():
    voxels = np.zeros((40, 40, 4), np.float32)
    voxels[4:36, 4:36] = 100 + np.arange(32)[:, None, None]
    preprocessed = preprocess(
        [as_scan(voxels, np.diag([2.0, 2, 5, 1]))], Preprocessing(pixel_size_mm=2, size_px=40)
    )
    probability = np.zeros((4, 4, 40, 40), np.float32)  # of wmh, brain, ventricles, white
    probability[:, 1, 8:32, 8:32] = 0.9
    probability[:, 2, 16:24, 16:24] = 0.8
    probability[:, 3] = 0.7
    prediction = Prediction(probability)
    output = Output(name="wmh", threshold=0.5, min_lesion_mm3=0)
    regions = postprocess(prediction, preprocessed, [output], REGIONS).regions
    assert tuple(regions) == REGIONS
    assert [int(regions[name].sum()) for name in REGIONS] == [4 * 24**2, 4 * 64, 4 * (24**2 - 64)]
    np.testing.assert_array_equal(regions["brain"], regions["ventricles"] | regions["white"])


def test_a_large_scan_needs_few_copies():
    # 5.1 million voxels, so that everything else is small. New are a probability (4 bytes a voxel),
    # the numbers of lesions (1) and regions (1); the rest is given back before the next is made.
    shape = (160, 160, 200)
    voxels = np.zeros(shape, np.float32)
    voxels[10:150, 10:150, 10:190] = 100 + np.arange(140)[:, None, None]
    preprocessed = preprocess(
        [as_scan(voxels, np.eye(4))], Preprocessing(pixel_size_mm=4, size_px=40)
    )
    slices = len(preprocessed.slices)
    probability = np.zeros((slices, 4, 40, 40), np.float32)
    probability[:, 0, 14, 14] = probability[:, 1, 6:34, 6:34] = 0.9
    probability[:, 2, 16:24, 16:24] = 0.8
    probability[:, 3] = 0.7
    output = Output(name="wmh", threshold=0.5, min_lesion_mm3=0)
    tracemalloc.start()
    try:
        found = postprocess(Prediction(probability), preprocessed, [output], REGIONS)
        kept, peak = (count / voxels.size for count in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    assert found["wmh"].lesions.count > 0
    assert kept < 6.5
    assert peak < 15  # measured: 14.4; 15.8 with the warnings about regions after the lesions
