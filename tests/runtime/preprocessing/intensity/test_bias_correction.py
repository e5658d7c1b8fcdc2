"""N4 bias correction: known fields, images without bias, several channels, and failures."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.toys import TOY_SIZE_PX, as_scan, write_head, write_toy_bundle
from wmh_runtime.bundle.bundle import load_bundle, write_manifest
from wmh_runtime.cohort.segment_folder import segment_folder
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.preprocessing.intensity import bias_correction
from wmh_runtime.preprocessing.intensity.bias_correction import correct_bias
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess

ISOTROPIC, THICK_SLICES = (4.0, 4.0, 4.0), (8.0, 2.0, 4.0)
PLAIN = Preprocessing(pixel_size_mm=4, size_px=TOY_SIZE_PX)
N4 = PLAIN.model_copy(update={"bias_correction": "n4"})


def head(spacing_mm=ISOTROPIC, noise=0.02):
    """An ellipsoid of white matter in a shell of gray matter; returns image, head, white matter."""
    rng = np.random.default_rng(0)
    sizes = [round(mm / spacing) for mm, spacing in zip((96, 128, 112), spacing_mm, strict=True)]
    axes = np.meshgrid(*[(np.arange(n) + 0.5) / n * 2 - 1 for n in sizes], indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes)) / 0.9
    inside, white = radius <= 1, radius < 0.75
    image = np.where(white, 100, 140) * (1 + noise * rng.standard_normal(radius.shape))
    sulci = inside & ~white & (rng.random(radius.shape) < 0.1)
    image[sulci] = 10
    return (image * inside).astype(np.float32), inside, white


def known_field(shape):
    """A smooth field that rises by a factor of 2.2 along the columns."""
    return np.exp(np.linspace(-0.4, 0.4, shape[2], dtype=np.float32))


def variation(image, where):
    """The coefficient of variation."""
    return image[where].std() / image[where].mean()


@pytest.mark.parametrize(("spacing_mm", "highest"), [(ISOTROPIC, 0.03), (THICK_SLICES, 0.06)])
def test_a_known_field_is_divided_out(spacing_mm, highest):
    # White matter varies by 2 %, which is noise; with the field by more than 12 %.
    image, inside, white = head(spacing_mm)
    biased = image * known_field(image.shape)
    corrected, warnings = correct_bias(biased, inside, spacing_mm, Path("a.nii"))
    assert variation(image, white) < 0.025
    assert variation(biased, white) > 0.12
    assert variation(corrected, white) < highest
    assert warnings == ()
    np.testing.assert_array_equal(corrected[~inside], biased[~inside])


def test_an_image_without_bias_stays_nearly_as_it_is():
    image, inside, white = head()
    corrected, _ = correct_bias(image, inside, ISOTROPIC, Path("a.nii"))
    assert variation(corrected, white) < variation(image, white) + 0.01
    np.testing.assert_allclose(corrected[white], image[white], rtol=0.1)
    assert not np.array_equal(corrected, image)


def test_a_constant_and_a_factor_change_little_and_padding_nothing():
    image, inside, _ = head()
    biased = image * known_field(image.shape)
    expected, _ = correct_bias(biased, inside, ISOTROPIC, Path("a.nii"))
    moved, _ = correct_bias(3 * biased - 500, inside, ISOTROPIC, Path("a.nii"))
    np.testing.assert_allclose((moved[inside] + 500) / 3, expected[inside], atol=0.5)
    margin = [(3, 0), (5, 2), (0, 7)]
    padded, _ = correct_bias(np.pad(biased, margin), np.pad(inside, margin), ISOTROPIC, Path("a"))
    np.testing.assert_array_equal(padded[3:, 5:-2, :-7], expected)


def test_a_damaged_voxel_does_not_change_the_field():
    image, inside, _ = head()
    expected, _ = correct_bias(image, inside, ISOTROPIC, Path("a.nii"))
    damaged = image.copy()
    damaged[12, 16, 14] = 1e9
    corrected, _ = correct_bias(damaged, inside, ISOTROPIC, Path("a.nii"))
    others = inside.copy()
    others[12, 16, 14] = False
    np.testing.assert_allclose(corrected[others], expected[others], rtol=0.01)


def test_a_single_intensity_has_no_field():
    image = np.full((8, 9, 10), 7, np.float32)
    corrected, warnings = correct_bias(image, image > 0, ISOTROPIC, Path("a.nii"))
    np.testing.assert_array_equal(corrected, image)
    assert warnings == ()


@pytest.mark.parametrize(
    ("count", "spacing_mm", "averaged"),
    [(100, 1.0, 25), (101, 1.0, 25), (48, 3.0, 48), (24, 7.0, 24), (90, 2.0, 45), (1, 1.0, 1)],
)
def test_voxels_are_averaged_to_about_4_mm_and_thick_slices_are_not(count, spacing_mm, averaged):
    matrix = bias_correction._averaging(count, spacing_mm)
    assert matrix.shape == (averaged, count)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)  # mirroring changes nothing
    if averaged == count:
        np.testing.assert_array_equal(matrix, np.eye(count))


def test_averaging_and_interpolation_keep_a_ramp():
    # 12 voxels of 2 mm become 6 of 4 mm: 0.5, 2.5, … 10.5. Back, the ends have these values.
    averaged = bias_correction._averaging(12, 2.0) @ np.arange(12, dtype=np.float32)
    assert averaged.tolist() == [0.5, 2.5, 4.5, 6.5, 8.5, 10.5]
    back = bias_correction._interpolation(12, 6) @ averaged
    np.testing.assert_allclose(back, [0.5, *range(1, 11), 10.5], atol=1e-5)


def test_an_extreme_field_has_a_warning_with_its_number():
    image, inside, _ = head()
    strong = image * known_field(image.shape) ** 3  # a factor of 11
    corrected, (warning,) = correct_bias(strong, inside, ISOTROPIC, Path("a.nii"))
    low = np.percentile(strong[inside], 0.1)
    clear = inside & (abs(strong - low) > 20)  # of others, the quotient is inaccurate
    field = (strong[clear] - low) / (corrected[clear] - low)
    ratio = float(field.max() / field.min())
    assert ratio > 3
    assert warning == (
        f"the bias field of a.nii varies by a factor of {ratio:.1f} in the head, expected 3 or"
        " less: look at the scan and its mask"
    )


def test_each_channel_is_corrected_by_its_own_field():
    image, _, white = head()
    field = known_field(image.shape)
    affine = np.diag([4.0, 4, 4, 1])
    # (slices, rows, columns) become (x, y, z): x runs along the columns.
    to_scan = (2, 1, 0)
    pair = [
        as_scan((image * one).transpose(to_scan), affine, name)
        for one, name in ((field, "flair.nii"), (field[::-1], "t1.nii"))
    ]
    white = np.ascontiguousarray(white.transpose(to_scan)).astype(np.float32)
    settings = {"normalization": "percentile", "clip_percentiles": (0, 100), "size_px": 48}
    varies = {}
    for kind in ("none", "n4"):
        changed = PLAIN.model_copy(update={**settings, "bias_correction": kind})
        prepared = preprocess(pair, changed)
        where = prepared.geometry.to_network(white) > 0.99
        varies[kind] = [variation(prepared.slices[:, channel], where) for channel in (0, 1)]
    for before, after in zip(varies["none"], varies["n4"], strict=True):
        assert after < before / 2


def test_a_warning_of_a_channel_is_one_of_the_scan(tmp_path, monkeypatch):
    monkeypatch.setattr(bias_correction, "_MAX_RATIO", 1.0)
    scan = read_scan(write_head(tmp_path / "a.nii"))
    assert any(
        line.startswith("the bias field of a.nii") for line in preprocess([scan], N4).warnings
    )


class FailingFilter:
    """Fails as ITK does."""

    def __getattr__(self, name):
        return lambda *arguments: None

    def Execute(self, *arguments):  # noqa: N802 - ITK's name
        raise RuntimeError("Exception thrown in SimpleITK\nITK ERROR: the mask is empty\n")


def test_a_scan_on_which_n4_fails_is_named(monkeypatch):
    import SimpleITK

    monkeypatch.setattr(SimpleITK, "N4BiasFieldCorrectionImageFilter", FailingFilter)
    image, inside, _ = head()
    with pytest.raises(InputError) as raised:
        correct_bias(image, inside, ISOTROPIC, Path("a.nii"))
    assert str(raised.value) == (
        "a.nii: N4 cannot correct its bias field (ITK ERROR: the mask is empty)."
        " Check that the image shows a whole head in several slices."
    )


@pytest.fixture
def n4_bundle(tmp_path):
    folder = write_toy_bundle(tmp_path / "bundle")
    bundle = load_bundle(folder)
    preprocessing = bundle.manifest.preprocessing.model_copy(update={"bias_correction": "n4"})
    write_manifest(folder, bundle.manifest.model_copy(update={"preprocessing": preprocessing}))
    return load_bundle(folder)


def test_a_bundle_that_needs_simpleitk_is_refused_without_it(tmp_path, n4_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    message = 'bias_correction: needs the library SimpleITK.*pip install "wmh-lora\\[itk\\]"'
    with pytest.raises(InputError, match=message), Segmenter.from_bundle(n4_bundle):
        pass
    with pytest.raises(InputError, match=message):
        segment_folder(tmp_path / "no-scans", tmp_path / "out", n4_bundle)
    assert not (tmp_path / "out").exists()
    PLAIN.require_installed()


def test_a_bundle_with_n4_finds_a_lesion_in_a_biased_scan(tmp_path, n4_bundle):
    plain = load_bundle(write_toy_bundle(tmp_path / "plain"))
    assert n4_bundle.manifest.model_id != plain.manifest.model_id
    image = nib.load(write_head(tmp_path / "a.nii", lesions=2))
    field = np.exp(np.linspace(-0.5, 0.5, image.shape[1], dtype=np.float32))[:, None]
    biased = nib.Nifti1Image(image.get_fdata().astype(np.float32) * field, image.affine)
    probability = {}
    for name, bundle in (("plain", plain), ("n4", n4_bundle)):
        with Segmenter.from_bundle(bundle, InferenceOptions(threads=1)) as segmenter:
            (result,) = segmenter.segment(biased).results
            probability[name] = result.probability
    # Lesions of one intensity at rows 6 and 10 of 30.
    first, second = ((10, row, 2) for row in (6, 10))
    ratio = {name: float(one[second] / one[first]) for name, one in probability.items()}
    assert abs(ratio["n4"] - 1) < abs(ratio["plain"] - 1)
