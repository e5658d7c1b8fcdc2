"""From the outputs of a network to lesions and regions on the grid of the scan."""

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
