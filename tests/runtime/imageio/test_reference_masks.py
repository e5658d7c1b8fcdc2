import nibabel as nib
import numpy as np
import pytest

from tests.toys import as_scan
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.reference_masks import read_reference, reference_from_mask

AFFINE = np.array([[0, -2.0, 0, 7], [1.5, 0, 0, -3], [0, 0, 4, 11], [0, 0, 0, 1]])


def write(path, voxels, affine=AFFINE):
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def labels(*values):
    return np.array(values).reshape(-1, 1, 1)


def test_labels_become_lesions_and_ignored_voxels():
    found = reference_from_mask(as_scan(labels(0, 1, 2), AFFINE))
    assert found.lesion.ravel().tolist() == [False, True, False]
    assert found.ignored.ravel().tolist() == [False, False, True]


def test_a_fraction_is_lesion_from_one_half():
    found = reference_from_mask(as_scan(labels(0.25, 0.5, 0.75, 1.0), AFFINE))
    assert found.lesion.ravel().tolist() == [False, True, True, True]
    assert not found.ignored.any()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        # Label 2 alone, smoothed: 0.5, 1 and 1.5 are no lesion.
        ((0, 0.5, 1, 1.5, 2), "has fractions from 0 to 2"),
        ((0, 1, 2, 0.5), "has fractions from 0 to 2"),
        ((0, 0.4, 1.2), "has fractions from 0 to 1.2"),  # an overshoot of spline interpolation
        ((-0.2, 0.4, 1), "has fractions from -0.2 to 1"),
        ((0, 127.5, 255), "has fractions from 0 to 255"),
    ],
)
def test_fractions_of_several_labels_are_refused(values, says):
    with pytest.raises(InputError, match=says) as raised:
        reference_from_mask(as_scan(labels(*values), AFFINE, "mask.nii"))
    assert str(raised.value).startswith("mask.nii: ")


def test_labels_that_are_not_quite_whole_are_labels():
    # Stored as 0, 127 and 255 with a slope of 2 / 255.
    found = reference_from_mask(as_scan(labels(0, 1.0001, 1.9999), AFFINE))
    assert found.lesion.ravel().tolist() == [False, True, False]
    assert found.ignored.ravel().tolist() == [False, False, True]


def test_a_mask_in_another_order_of_voxels_is_brought_to_the_order_of_its_scan(tmp_path):
    # The scan runs along P, R, S with voxels of 1.5, 2 and 4 mm; the mask along S, L, P.
    scan = read_scan(write(tmp_path / "scan.nii", np.arange(24.0).reshape(3, 4, 2)))
    mask = np.zeros((3, 4, 2), np.uint8)
    mask[2, 0, 1], mask[0, 3, 0] = 1, 2
    flipped = AFFINE.copy()
    flipped[:3, 3] += 3 * AFFINE[:3, 1]  # the first voxel is the last of four
    flipped[:3, 1] *= -1
    stored = mask[:, ::-1].transpose(2, 1, 0)
    path = write(tmp_path / "mask.nii", stored, flipped[:, [2, 1, 0, 3]])
    found = read_reference(path, scan)
    assert np.argwhere(found.lesion).tolist() == [[2, 0, 1]]
    assert np.argwhere(found.ignored).tolist() == [[0, 3, 0]]


@pytest.mark.parametrize("unknown", [3, -1, 255])
def test_an_unknown_label_is_refused_and_named(unknown):
    with pytest.raises(InputError, match=f"mask.nii: contains the label {unknown}, expected 0, 1"):
        reference_from_mask(as_scan(labels(0, 1, unknown), AFFINE, "mask.nii"))


def test_a_reference_without_lesions_is_valid(tmp_path):
    path = write(tmp_path / "none.nii.gz", np.zeros((3, 4, 2), np.uint8))
    assert read_reference(path).lesion.shape == (3, 4, 2)
    assert not read_reference(path).lesion.any()


def test_a_reference_on_another_grid_than_its_scan_is_refused(tmp_path):
    voxels = np.zeros((3, 4, 2), np.uint8)
    voxels[1, 2, 1] = 1
    moved = AFFINE.copy()
    moved[2, 3] += 4  # one slice higher
    scan = read_scan(write(tmp_path / "scan.nii.gz", voxels), allow_constant=True)
    assert read_reference(write(tmp_path / "same.nii.gz", voxels), scan).lesion.sum() == 1
    with pytest.raises(
        InputError, match=r"moved\.nii\.gz: is not on the grid of .*scan\.nii\.gz: .* 4\.0 mm apart"
    ):
        read_reference(write(tmp_path / "moved.nii.gz", voxels, moved), scan)
