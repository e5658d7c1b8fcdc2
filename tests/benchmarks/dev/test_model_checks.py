import numpy as np
import pytest

from benchmarks.dev.model_checks import _resliced, check_scans
from tests.toys import as_scan, write_annotated_heads
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.evaluation.reference_masks import Reference
from wmh_train.data.layouts import find_dataset


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    write_annotated_heads(folder, 2)
    return find_dataset(folder, ["flair"], ["wmh"]).scans


def test_a_network_of_single_pixels_segments_changed_scans_alike(toy_bundle, heads):
    scores = check_scans(load_bundle(toy_bundle), heads, lambda: None)
    for score in scores:
        assert score.dice == pytest.approx(1)
        assert score.volume_ml == pytest.approx(score.reference_ml)
        assert set(score.invariance) == {"scaled", "shifted", "mirrored", "reoriented", "padded"}
        assert min(score.invariance.values()) > 0.99
        assert score.by_thickness == {}  # its slices are thick already


class Threshold:
    """Segments what is at least 2."""

    def segment(self, scan):
        self.affines.append(scan.affine)
        mask = (scan.voxels >= 2).astype(np.uint8)
        return {"wmh": type("Result", (), {"mask": mask})}

    def __init__(self):
        self.affines = []


@pytest.mark.parametrize("axis", [0, 2])  # of the array, that points up
def test_slices_are_averaged_to_thicker_ones_at_their_centers(axis):
    # Along z, 1 mm each: slabs of 3 mm; of the second one, two of three voxels are lesion.
    values = np.array([0, 0, 0, 3, 3, 0, *[0] * 14], np.float32)
    texture = 0.01 * np.arange(12, dtype=np.float32)[:, None, None]  # a mask has whole values
    voxels = np.broadcast_to(values, (12, 12, 20)) + texture
    voxels = np.moveaxis(voxels, 2, axis)
    affine = np.eye(4)[:, [2, 0, 1, 3]] if axis == 0 else np.eye(4)
    reference = Reference(voxels >= 2, np.zeros(voxels.shape, bool))
    segmenter = Threshold()
    scores = dict(_resliced(segmenter, as_scan(voxels, affine), reference))
    assert scores["3 mm"] == 1
    upward = [0.0, 0, 0, 1]  # the center of the first slab is at 1
    upward[axis] = 3
    assert segmenter.affines[0][2].tolist() == upward
