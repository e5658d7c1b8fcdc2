import numpy as np
import pytest

from tests.toys import as_scan
from wmh_runtime.errors import InputError
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess

PREPROCESSING = Preprocessing(pixel_size_mm=2.0, size_px=64)
AFFINE = np.array([[0, 0, 3.1, -20], [-1.2, 0, 0, 60], [0, 1.7, 0, -30], [0, 0, 0, 1.0]])
# Voxel axes run to P (1.2 mm), S (1.7 mm) and R (3.1 mm): a sagittal acquisition.


def scans(*volumes):
    return [as_scan(volume, AFFINE) for volume in volumes]


def head(shape=(90, 20, 34), empty=5):
    """A bright block in the middle of the volume, absent from the `empty` lowest slices."""
    volume = np.zeros(shape, np.float32)
    texture = np.arange(50)[:, None, None] % 7  # no line of a head has a single value
    volume[20:70, empty:, 8:26] = 100 + np.arange(18) + texture
    return volume


def test_slices_have_the_network_shape_and_slices_without_head_are_skipped():
    preprocessed = preprocess(scans(head()), PREPROCESSING)
    assert preprocessed.slices.shape == (15, 1, 64, 64)
    assert preprocessed.slices.dtype == np.float32
    assert preprocessed.slice_count == 20


def test_probabilities_return_to_their_voxels_and_are_zero_elsewhere():
    # A smooth bump on the grid of the volume, resampled to network slices and back.
    volume = head()
    x, _, z = np.ogrid[:90, :20, :34]
    bump = np.exp(-(((x - 40) * 1.2) ** 2 + ((z - 15) * 3.1) ** 2) / (2 * 12.0**2)) * (volume > 0)
    geometry = preprocess(scans(volume), PREPROCESSING).geometry
    back = geometry.to_scan(geometry.to_network(bump))
    assert back.shape == volume.shape
    assert back.dtype == np.float32
    assert not back[:, :5].any()
    interior = (slice(30, 60), slice(5, None), slice(11, 20))
    np.testing.assert_allclose(back[interior], bump[interior], atol=0.05)
    assert np.unravel_index(back[:, 10].argmax(), (90, 34)) == (40, 15)


def test_each_voxel_has_the_number_of_the_most_probable_output():
    geometry = preprocess(scans(head()), PREPROCESSING).geometry
    probabilities = np.zeros((15, 3, 64, 64), np.float32)
    probabilities[:, 0], probabilities[:, 1], probabilities[:, 2] = 0.6, 0.4, 0.55
    probabilities[3, 1], probabilities[4, 0], probabilities[5] = 0.9, 0.3, 0.3
    numbers = geometry.to_scan_numbers(probabilities, 0.5, [0, 1, 2])
    assert (numbers.shape, numbers.dtype) == ((90, 20, 34), np.uint8)
    # Slice 0 is the sixth of the volume: five have no head.
    assert numbers[40, :, 15].tolist() == [0] * 5 + [1] * 3 + [2, 3, 0] + [1] * 9


def test_anterior_is_up_and_left_is_on_the_right():
    # A lesion in the left anterior part of the head is at the top right of the slice.
    volume = head()
    volume[22:28, 10, 9:11] = 1000  # low first index: anterior; low third index: left
    preprocessed = preprocess(scans(volume), PREPROCESSING)
    row, column = np.unravel_index(preprocessed.slices[5, 0].argmax(), (64, 64))
    assert row < 32 < column


@pytest.mark.parametrize("columns", [18, 17])  # the middle of the head: between voxels, on one
def test_a_mirrored_scan_has_mirrored_slices(columns):
    volume = np.ascontiguousarray(head()[:, :, :33])
    volume[:, :, 8 + columns :] = 0
    volume[20:30, :, 8:11] = 0  # more of the head on one side
    volume[30:40, 8, 9:13] = 900
    settings = PREPROCESSING.model_copy(update={"pixel_size_mm": 3.1})
    slices, mirrored = (
        preprocess(scans(voxels), settings).slices for voxels in (volume, volume[:, :, ::-1])
    )
    np.testing.assert_allclose(mirrored, slices[..., ::-1], atol=1e-5)


def test_channels_stay_in_their_order():
    preprocessed = preprocess(scans(head(), -head()), PREPROCESSING)
    assert preprocessed.slices.shape == (15, 2, 64, 64)
    np.testing.assert_allclose(preprocessed.slices[:, 0], -preprocessed.slices[:, 1], atol=1e-5)


def test_a_head_larger_than_the_field_of_view_is_cropped_with_a_warning():
    # 50 rows × 1.2 mm = 60 mm of head in a field of 32 × 1 mm.
    small = PREPROCESSING.model_copy(update={"pixel_size_mm": 1.0, "size_px": 32})
    preprocessed = preprocess(scans(head()), small)
    (warning,) = preprocessed.warnings
    assert "of the head lies outside the network's 32 mm field" in warning
    assert preprocess(scans(head()), PREPROCESSING).warnings == ()


def test_a_few_voxels_outside_the_field_of_view_give_no_warning():
    # The block has the rows 20 to 69, the field the rows 19 to 69: 9 of 13,518 voxels are outside.
    volume = head()
    volume[[19, 70], 9:12, 14:17] = 100
    field = PREPROCESSING.model_copy(update={"pixel_size_mm": 1.2, "size_px": 51})
    assert preprocess(scans(volume), field).warnings == ()


def test_a_head_of_impossible_size_has_a_warning():
    # Voxels of 0.6 mm instead of 1.2, and 1.55 instead of 3.1: 50 rows × 0.6 = 30 mm.
    half = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    (warning,) = preprocess([as_scan(head(), half)], PREPROCESSING).warnings
    assert warning.startswith("the head measures 30 × 28 mm in the slices, expected 50 to 300 mm")


def test_lost_slices_within_the_head_have_a_warning():
    voxels = head()
    assert preprocess(scans(voxels), PREPROCESSING).warnings == ()
    voxels[:, [8, 9, 14]] = 0
    (warning,) = preprocess(scans(voxels), PREPROCESSING).warnings
    assert warning.startswith("empty slices between others of the head: 3.")


def test_an_image_without_a_head_is_refused():
    volume = np.zeros((90, 20, 34), np.float32)
    volume[45, 10, 17] = 100
    with pytest.raises(InputError, match="no axial slice shows 500 mm² of head"):
        preprocess(scans(volume), PREPROCESSING)


@pytest.mark.parametrize("wrong", [(-1, 99), (50, 50), (0, 101), (0, float("nan"))])
def test_percentiles_out_of_order_are_refused(wrong):
    with pytest.raises(ValueError, match="clip_percentiles"):
        Preprocessing(pixel_size_mm=1, size_px=8, clip_percentiles=wrong)
