import numpy as np
import pytest

from tests.toys import as_scan
from wmh_runtime.errors import InputError
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess

PREPARATION = Preprocessing(pixel_size_mm=2.0, size_px=64)
AFFINE = np.array([[0, 0, 3.1, -20], [-1.2, 0, 0, 60], [0, 1.7, 0, -30], [0, 0, 0, 1.0]])
# Voxel axes run to P (1.2 mm), S (1.7 mm) and R (3.1 mm): a sagittal acquisition.


def scans(*volumes):
    return [as_scan(volume, AFFINE) for volume in volumes]


def head(shape=(90, 20, 34), empty=5):
    """A bright block over all but the outer quarter, absent from the `empty` lowest slices."""
    volume = np.zeros(shape, np.float32)
    volume[20:70, empty:, 8:26] = 100 + np.arange(18)
    return volume


def test_slices_have_the_network_shape_and_skip_what_shows_no_head():
    prepared = preprocess(scans(head()), PREPARATION)
    assert prepared.slices.shape == (15, 1, 64, 64)
    assert prepared.slices.dtype == np.float32
    assert prepared.slice_count == 20


def test_probability_comes_back_to_its_voxel_and_is_zero_elsewhere():
    # A smooth bump drawn on the volume's own grid travels to squares and back.
    volume = head()
    x, _, z = np.ogrid[:90, :20, :34]
    bump = np.exp(-(((x - 40) * 1.2) ** 2 + ((z - 15) * 3.1) ** 2) / (2 * 12.0**2)) * (volume > 0)
    restoration = preprocess(scans(volume), PREPARATION).restoration
    back = restoration.probability(restoration.squares(bump))
    assert back.shape == volume.shape
    assert back.dtype == np.float32
    assert not back[:, :5].any()
    interior = (slice(30, 60), slice(5, None), slice(11, 20))
    np.testing.assert_allclose(back[interior], bump[interior], atol=0.05)
    assert np.unravel_index(back[:, 10].argmax(), (90, 34)) == (40, 15)


def test_the_picture_is_the_right_way_up():
    # A lesion in the front left of the head lies in the top right of the square.
    volume = head()
    volume[22:28, 10, 9:11] = 1000  # low first index: anterior; low third index: left
    prepared = preprocess(scans(volume), PREPARATION)
    row, column = np.unravel_index(prepared.slices[5, 0].argmax(), (64, 64))
    assert row < 32 < column


def test_the_slice_axis_follows_the_plane():
    volume = head()
    sagittal = preprocess(scans(volume), PREPARATION.model_copy(update={"plane": "sagittal"}))
    assert sagittal.slice_count == 34
    coronal = preprocess(scans(volume), PREPARATION.model_copy(update={"plane": "coronal"}))
    assert coronal.slice_count == 90


def test_channels_stay_in_their_order():
    prepared = preprocess(scans(head(), -head()), PREPARATION)
    assert prepared.slices.shape == (15, 2, 64, 64)
    np.testing.assert_allclose(prepared.slices[:, 0], -prepared.slices[:, 1], atol=1e-5)


def test_a_head_larger_than_the_field_is_cropped_and_said():
    # 50 rows × 1.2 mm = 60 mm of head in a field of 32 × 1 mm.
    small = PREPARATION.model_copy(update={"pixel_size_mm": 1.0, "size_px": 32})
    prepared = preprocess(scans(head()), small)
    (warning,) = prepared.warnings
    assert "of the head lies outside the network's 32 mm field" in warning
    assert preprocess(scans(head()), PREPARATION).warnings == ()


def test_an_image_without_head_is_refused():
    volume = np.zeros((90, 20, 34), np.float32)
    volume[45, 10, 17] = 100
    with pytest.raises(InputError, match="no axial slice shows 500 mm² of head"):
        preprocess(scans(volume), PREPARATION)


def test_channels_of_different_shape_are_refused():
    with pytest.raises(InputError, match=r"has \(90, 21, 34\) voxels and memory\.nii"):
        preprocess(scans(head(), head((90, 21, 34))), PREPARATION)


def test_channels_in_different_places_are_refused():
    # 0.002 rad about the origin moves the farthest corner by more than 0.1 mm.
    turned = AFFINE.copy()
    turned[:2] = [[1, -0.002], [0.002, 1]] @ AFFINE[:2]
    with pytest.raises(InputError, match=r"other\.nii: lies up to 0\.\d mm away"):
        preprocess([as_scan(head(), AFFINE), as_scan(head(), turned, "other.nii")], PREPARATION)


@pytest.mark.parametrize("wrong", [(-1, 99), (50, 50), (0, 101), (0, float("nan"))])
def test_percentiles_out_of_order_are_refused(wrong):
    with pytest.raises(ValueError, match="clip_percentiles"):
        Preprocessing(pixel_size_mm=1, size_px=8, clip_percentiles=wrong)
