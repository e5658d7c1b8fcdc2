"""Whether an atlas fits a scan, on a box of 10 × 4 × 4 voxels of 0.5 mL."""

from dataclasses import replace

import numpy as np
import pytest

from tests.toys import as_scan
from wmh_runtime.postprocessing.atlas_burden import with_atlas
from wmh_runtime.postprocessing.burden import Burden
from wmh_runtime.postprocessing.lesions import Output, find_lesions
from wmh_runtime.postprocessing.parcellation import ATLAS_SCHEME, Parcellation
from wmh_runtime.postprocessing.postprocess import OutputResult, Segmentation

SHAPE = (10, 4, 4)
AFFINE = np.diag([5.0, 10.0, 10.0, 1.0])  # x grows to the right
HALVES = np.zeros(SHAPE, np.uint16)
HALVES[1:5], HALVES[5:9] = 1, 2


def segmentation(lesion=(4, 6), head=(0, 10)):
    """A head, and in it a lesion, from one plane along x to another."""
    mask, inside = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool)
    mask[slice(*lesion)], inside[slice(*head)] = 1, True
    lesions = find_lesions(mask, threshold=0.5, min_lesion_mm3=0, voxel_volume_mm3=500)
    result = OutputResult(
        Output(name="wmh", threshold=0.5, min_lesion_mm3=0), mask, lesions, Burden()
    )
    return Segmentation((result,), inside, {}, None, ("axial",), 4, 4, 4, ("earlier",))


def warnings_of(found, numbers=HALVES, affine=AFFINE, names=("Left-Lobe", "Right-Lobe")):
    atlas = Parcellation(ATLAS_SCHEME, numbers, dict(enumerate(names, start=1)))
    *warnings, earlier = with_atlas(found, atlas, as_scan(np.zeros(SHAPE), affine)).warnings
    assert earlier == "earlier"
    return warnings


def test_an_atlas_that_fits_has_no_warning():
    assert warnings_of(segmentation()) == []


def test_an_atlas_beside_the_brain():
    # Six of its eight planes are in the head, or in the brain if that is known.
    expected = (
        "75% of the atlas is in the head, expected 80% or more: check that it is in the space of"
        " the scan, or give its transform"
    )
    assert warnings_of(segmentation(head=(3, 10))) == [expected]
    with_brain = replace(segmentation(), regions={"brain": segmentation(head=(3, 10)).head})
    assert warnings_of(with_brain) == [expected.replace("head", "brain")]
    nowhere = warnings_of(segmentation(), HALVES * 0)
    assert nowhere[0].startswith("0% of the atlas")


@pytest.mark.parametrize(
    "names", [("ctx-lh-cuneus", "ctx-rh-cuneus"), ("Frontal L", "Frontal R"), ("left", "right")]
)
def test_an_atlas_with_left_and_right_exchanged(names):
    # The middles of the halves are four planes of 5 mm apart.
    expected = (
        "the left regions of the atlas are 20 mm to the right of its right regions: check its"
        " orientation and its names"
    )
    assert warnings_of(segmentation(), names=names) == []
    assert warnings_of(segmentation(), names=names[::-1]) == [expected]
    assert warnings_of(segmentation(), affine=AFFINE * [-1, 1, 1, 1], names=names) == [expected]
    assert warnings_of(segmentation(), names=(names[1], "corpus callosum")) == []  # no other side


def test_lesions_in_no_region():
    # Three planes of a lesion, two of them beside the atlas; each plane has 8 mL.
    numbers = np.where(np.arange(10)[:, None, None] < 4, HALVES, 0)
    assert warnings_of(segmentation(lesion=(3, 6)), numbers) == [
        "wmh: 67% of the lesion volume is in no region of the atlas: check its place"
    ]
    assert warnings_of(segmentation(lesion=(2, 5)), numbers) == []  # a third
