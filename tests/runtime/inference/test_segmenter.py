import numpy as np
import pytest

from tests.toys import TOY_SIZE_PX, write_head
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.volume import scan_from_array
from wmh_runtime.inference.segmenter import SegmentationModel, Segmenter
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess
from wmh_runtime.types import NetworkShape

PREPROCESSING = Preprocessing(pixel_size_mm=4.0, size_px=TOY_SIZE_PX, clip_percentiles=(0, 100))


def segment(*scans, outputs=("wmh",), threshold=0.9, warnings=()):
    shape = NetworkShape(len(scans), len(outputs), TOY_SIZE_PX)
    wanted = [Output(name=name, threshold=threshold, min_lesion_mm3=0) for name in outputs]
    model = SegmentationModel(
        ["flair", "t1"][: len(scans)], PREPROCESSING, wanted, warnings=warnings
    )
    with FakeBackend(shape) as backend, Segmenter(model, [backend]) as segmenter:
        return segmenter.segment(scans)


def test_a_bright_cube_is_found_where_it_is_with_its_volume(tmp_path):
    # 2 × 2 × 2 voxels of 4 × 4 × 5 = 80 mm³ each; same pixel size, so nothing is blurred.
    scan = read_scan(write_head(tmp_path / "a.nii"))
    (result,) = segment(scan).results
    assert np.argwhere(result.lesions.mask).min(axis=0).tolist() == [10, 6, 2]
    assert np.argwhere(result.lesions.mask).max(axis=0).tolist() == [11, 7, 3]
    assert result.lesions.volume_ml == pytest.approx(8 * 80 / 1000)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flip", [None, 0, 1, 2])
def test_the_stored_orientation_does_not_matter(tmp_path, axes, flip):
    import nibabel as nib

    stored = nib.load(write_head(tmp_path / "a.nii"))
    voxels, affine = stored.get_fdata(), stored.affine.copy()
    if flip is not None:
        affine[:3, 3] += affine[:3, flip] * (voxels.shape[flip] - 1)
        affine[:, flip] *= -1
        voxels = np.flip(voxels, flip)
    affine = affine[:, [*axes, 3]]
    nib.save(nib.Nifti1Image(voxels.transpose(axes).astype(np.float32), affine), tmp_path / "b.nii")
    expected = segment(read_scan(tmp_path / "a.nii")).results[0].lesions
    found = segment(read_scan(tmp_path / "b.nii")).results[0].lesions
    back = np.transpose(found.mask, np.argsort(axes))
    back = back if flip is None else np.flip(back, flip)
    np.testing.assert_array_equal(back, expected.mask)


def test_the_warnings_of_the_model_come_last(tmp_path):
    header = "the affine is the identity"
    voxels = read_scan(write_head(tmp_path / "a.nii")).voxels
    voxels = voxels.repeat(4, axis=0).repeat(4, axis=1)  # of 1 mm
    first, *_, last = segment(scan_from_array(voxels, np.eye(4)), warnings=["weak"]).warnings
    assert first.startswith(header)
    assert last == "weak"


def test_progress_reaches_the_whole(tmp_path):
    # 6 slices in batches of 4.
    scan = read_scan(write_head(tmp_path / "a.nii"))
    shares = []
    model = SegmentationModel(["flair"], PREPROCESSING, [])
    with (
        FakeBackend(NetworkShape(1, 1, TOY_SIZE_PX), batch_size=4) as backend,
        Segmenter(model, [backend]) as segmenter,
    ):
        segmenter.segment(scan, shares.append)
    assert shares == [4 / 6, 1]


def test_two_channels_and_two_outputs(tmp_path):
    scans = [read_scan(write_head(tmp_path / f"{seed}.nii", seed=seed)) for seed in (1, 2)]
    results = segment(*scans, outputs=("wmh", "stroke")).results
    assert [result.output.name for result in results] == ["wmh", "stroke"]


def test_missing_channels_are_named(tmp_path):
    scan = read_scan(write_head(tmp_path / "a.nii"))
    model = SegmentationModel(["flair", "t1"], PREPROCESSING, [])
    with (
        FakeBackend(NetworkShape(2, 1, TOY_SIZE_PX)) as backend,
        Segmenter(model, [backend]) as segmenter,
    ):
        with pytest.raises(InputError, match=r"1 image given, this bundle takes 2 \(flair, t1\)"):
            segmenter.segment(scan)
        with pytest.raises(InputError, match="channels: are flair, expected flair, t1"):
            segmenter.segment({"flair": scan})


def test_images_of_nibabel_and_arrays_are_segmented_like_files(tmp_path):
    import nibabel as nib

    path = write_head(tmp_path / "a.nii.gz")
    image = nib.load(path)
    model = SegmentationModel(
        ["flair"], PREPROCESSING, [Output(name="wmh", threshold=0.9, min_lesion_mm3=0)]
    )
    array = scan_from_array(image.get_fdata(), image.affine)
    with (
        FakeBackend(NetworkShape(1, 1, TOY_SIZE_PX)) as backend,
        Segmenter(model, [backend]) as segmenter,
    ):
        images = (read_scan(path), image, array, path, str(path))
        masks = [segmenter.segment(one)["wmh"].mask for one in images]
        with pytest.raises(InputError, match=r"is of type ndarray, .* use scan_from_array"):
            segmenter.segment(image.get_fdata())
        masks.append(segmenter.segment({"flair": image})["wmh"].mask)
    assert masks[0].sum() == 8
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])


@pytest.mark.parametrize(
    ("shape", "fill", "message"),
    [
        ((4, 5), 1, "has 2 dimensions"),
        ((4, 5, 6, 2), 1, "contains 2 volumes"),
        ((4, 5, 6), np.nan, "NaN"),
        ((4, 5, 6), 7, "7"),
    ],
)
def test_arrays_that_are_no_scan_are_refused(shape, fill, message):
    with pytest.raises(InputError, match=message):
        scan_from_array(np.full(shape, fill), np.eye(4), name="my scan")


def test_a_channel_on_another_grid_is_brought_to_the_first(tmp_path):
    first = read_scan(write_head(tmp_path / "a.nii"))
    shifted = first.affine.copy()
    shifted[0, 3] += 0.4  # a tenth of a voxel
    second = read_scan(write_head(tmp_path / "b.nii", affine=shifted))
    result = segment(first, second)["wmh"]
    assert result.mask.shape == first.shape
    assert result.lesions.count == segment(first, first)["wmh"].lesions.count == 1


def test_channels_in_another_order_of_voxels_give_the_same_mask(tmp_path):
    import nibabel as nib

    first = read_scan(write_head(tmp_path / "a.nii"))
    image = nib.load(write_head(tmp_path / "b.nii", seed=1))  # stored as LPS
    nib.save(nib.as_closest_canonical(image), tmp_path / "ras.nii")
    second, ras = read_scan(tmp_path / "b.nii"), read_scan(tmp_path / "ras.nii")
    assert np.any(second.voxels != ras.voxels)
    model = SegmentationModel(["flair", "t1"], PREPROCESSING, [])
    slices = [preprocess([first, other], model.preprocessing).slices for other in (second, ras)]
    np.testing.assert_array_equal(*slices)


def test_slices_without_head_are_not_executed(tmp_path):
    scan = read_scan(write_head(tmp_path / "a.nii"))
    scan.voxels[:, :, :2] = 0
    segmentation = segment(scan)
    assert (segmentation.slice_count, segmentation.slices_run) == (6, 4)
    assert not segmentation.results[0].probability[:, :, :2].any()
