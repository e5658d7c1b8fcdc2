import nibabel as nib
import numpy as np
import pytest

from tests.toys import write_head
from wmh_runtime.errors import InputError
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess
from wmh_train.data.annotated import AnnotatedScan

PREPROCESSING = Preprocessing(pixel_size_mm=4.0, size_px=64)


@pytest.fixture
def scan(tmp_path):
    """A head in two channels, and a mask with five lesion voxels and three of other pathology."""
    paths = [
        write_head(tmp_path / name, seed=seed)
        for seed, name in enumerate(("FLAIR.nii.gz", "T1.nii.gz"))
    ]
    labels = np.zeros((24, 30, 6), np.uint8)
    labels[8, 6:11, 2] = 1
    labels[9, 6:9, 2] = 2
    nib.save(nib.Nifti1Image(labels, nib.load(paths[0]).affine), tmp_path / "wmh.nii.gz")
    return AnnotatedScan("a", "a", "", tuple(paths), (tmp_path / "wmh.nii.gz",))


def move(path, axis):
    image = nib.load(path)
    affine = image.affine.copy()
    affine[axis, 3] += 1
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)


def test_channels_and_references_are_read_with_separate_ignored_voxels(scan):
    channels, (reference,) = scan.load()
    assert [channel.path for channel in channels] == list(scan.channels)
    assert np.argwhere(reference.lesion).tolist() == [[8, y, 2] for y in range(6, 11)]
    assert np.argwhere(reference.ignored).tolist() == [[9, y, 2] for y in range(6, 9)]


def test_a_scan_without_lesion_is_accepted(scan):
    image = nib.load(scan.references[0])
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), scan.references[0])
    assert not scan.load()[1][0].lesion.any()


def mirror(path):
    """Store the same voxels from the other side, and with the last axis first."""
    image = nib.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += 23 * affine[:3, 0]
    affine[:3, 0] *= -1
    voxels = np.asarray(image.dataobj)[::-1].transpose(2, 0, 1)
    nib.save(nib.Nifti1Image(voxels, affine[:, [2, 0, 1, 3]]), path)


def test_masks_and_channels_in_another_order_of_voxels_give_the_same(scan):
    before = scan.load()
    mirror(scan.references[0])
    mirror(scan.channels[1])
    after = scan.load()
    slices = [preprocess(channels, PREPROCESSING).slices for channels, _ in (before, after)]
    np.testing.assert_array_equal(*slices)
    np.testing.assert_array_equal(before[1][0].lesion, after[1][0].lesion)
    np.testing.assert_array_equal(before[1][0].ignored, after[1][0].ignored)


def test_a_mask_on_another_grid_is_refused(scan):
    move(scan.references[0], axis=0)
    with pytest.raises(InputError, match=r"wmh\.nii\.gz: is not on the grid of .*FLAIR"):
        scan.load()


def test_a_channel_on_another_grid_is_read_as_it_is(scan):
    move(scan.channels[1], axis=2)
    (flair, t1), _ = scan.load()
    assert t1.affine[2, 3] == flair.affine[2, 3] + 1
