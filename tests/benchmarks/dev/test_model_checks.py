from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.dev.model_checks import _by_location, _resliced, check_scans
from tests.toys import as_scan, write_annotated_heads
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.imageio.reference_masks import Reference
from wmh_runtime.postprocessing.burden import Burden
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


def test_lesions_are_compared_by_location():
    # A row of 1 mm³ voxels. 0 and 1 are ventricle, so 0 to 11 are periventricular (10 mm); 30 is
    # cortex, so 26 to 29 are juxtacortical (4 mm); 12 to 25 are deep.
    def row(*parts):
        mask = np.zeros((40, 1, 1), bool)
        for part in parts:
            mask[part] = True
        return mask

    regions = {
        "brain": row(slice(40)),
        "ventricles": row(slice(2)),
        "cortex": row(30),
        "posterior": row(slice(35, 40)),
    }
    reference = Reference(row(slice(2, 8), slice(20, 24), 28), row(slice(14, 18)))
    found = row(slice(5, 10), slice(14, 21)).astype(np.uint8)
    output = SimpleNamespace(mask=found, burden=Burden(locations={"deep": None}))
    result = type("Result", (), {"regions": regions, "__getitem__": lambda self, name: output})()
    scores = _by_location(result, reference, as_scan(np.zeros((40, 1, 1)), np.eye(4)))
    in_mm3 = {
        name: [round(1000 * volume) for volume in score.model_dump().values()]
        for name, score in scores.items()
    }
    assert in_mm3 == {
        "periventricular": [6, 3, 2],
        "deep": [4, 1, 2],
        "juxtacortical": [1, 0, 0],
        "infratentorial": [0, 0, 0],
    }


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
