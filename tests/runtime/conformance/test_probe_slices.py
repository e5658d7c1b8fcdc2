"""Probe slices of phantoms and of scans."""

import nibabel as nib
import numpy as np
import pytest

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from tests.toys import write_head
from wmh_export.phantom_probes import phantom_probes
from wmh_runtime.conformance.probe_slices import scan_probes, select_probe_scans
from wmh_runtime.dataset.channels import ChannelRules
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.phantom.cohort import CALIBRATION_SEED, PARITY_SEED
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess
from wmh_runtime.preprocessing.slices.planes import PLANES

CHANNELS = ["flair", "t1"]
PREPROCESSING = Preprocessing(pixel_size_mm=4.0, size_px=64)


@pytest.fixture(scope="module")
def probes():
    with coarse_phantoms():
        return phantom_probes(PARITY_SEED, PREPROCESSING, CHANNELS, [(True, True)], slices=7)


def test_phantom_probes_alternate_between_sites(probes):
    assert probes.slices.shape == (7, 2, 64, 64)
    assert probes.slices.dtype == np.float32
    flair, t1 = (probes.slices[:, channel].ravel() for channel in (0, 1))
    assert 0.3 < np.corrcoef(flair, t1)[0, 1] < 0.9  # two contrasts of one head
    # The coarse slices are 6 mm thick at all sites: 4 mm · 4 mm · 6 mm = 0.096 mL.
    np.testing.assert_allclose(probes.pixel_ml, 0.096)


@pytest.mark.exhaustive
def test_another_seed_gives_other_slices(probes):
    with coarse_phantoms():
        other = phantom_probes(CALIBRATION_SEED, PREPROCESSING, CHANNELS, [(True, True)], slices=7)
    assert np.abs(other.slices - probes.slices).mean() > 0.1


def test_slices_take_turns_with_the_channels_that_are_there(probes):
    subsets = [(True, True), (True, False), (False, True)]
    with coarse_phantoms():
        turns = phantom_probes(PARITY_SEED, PREPROCESSING, CHANNELS, subsets, slices=7).slices
    there = turns.any(axis=(2, 3)).tolist()
    assert there == [[True, True], [True, False], [False, True]] * 2 + [[True, True]]
    np.testing.assert_array_equal(turns[1, 0], probes.slices[1, 0])


def test_slices_are_rounded_to_float16(probes):
    np.testing.assert_array_equal(probes.slices.astype(np.float16), probes.slices)


def test_split_alternately(probes):
    first, second = probes.split_alternately()
    assert (len(first), len(second)) == (4, 3)
    np.testing.assert_array_equal(first.slices[1], probes.slices[2])
    np.testing.assert_array_equal(second.slices[0], probes.slices[1])


def test_scan_probes_come_from_the_middle_of_the_scan(tmp_path):
    for name in ("a", "b"):
        write_head(tmp_path / f"{name}_FLAIR.nii.gz", lesions=3)
    # Six slices each: the middle half, from 1.5 to 3.5, is slices 1, 2 and 3 of a, then of b.
    compared, calibration = scan_probes(
        select_probe_scans(tmp_path, ChannelRules()), PREPROCESSING, ["flair"]
    )
    assert compared.slices.shape == calibration.slices.shape == (3, 1, 64, 64)
    np.testing.assert_allclose(compared.pixel_ml, 4 * 4 * 5 / 1000)
    preprocessed = preprocess([read_scan(tmp_path / "a_FLAIR.nii.gz")], PREPROCESSING).slices
    np.testing.assert_allclose(calibration.slices[0], preprocessed[2], atol=1e-2)


def test_scan_probes_come_from_the_middle_of_each_plane(tmp_path):
    # 24 (x) × 20 (y) × 16 (z) voxels of 2 × 2 × 2.5 mm, all of them head.
    voxels = (100 + np.arange(24 * 20 * 16) % 701).reshape(24, 20, 16).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([2, 2, 2.5, 1])), tmp_path / "a_FLAIR.nii.gz")
    preprocessing = PREPROCESSING.model_copy(update={"planes": PLANES})
    compared, calibration = scan_probes(
        select_probe_scans(tmp_path, ChannelRules()), preprocessing, ["flair"]
    )
    # A pixel has 4 mm · 4 mm; the slices are 2.5 mm apart in the axial plane, else 2 mm.
    pixel_ml = np.float32([0.04, 0.032])
    # Of 16 slices at most, 5 are of each plane. Every other one is compared.
    expected = np.repeat(pixel_ml, [5, 10])
    np.testing.assert_array_equal(compared.pixel_ml, expected[::2])
    np.testing.assert_array_equal(calibration.pixel_ml, expected[1::2])
    # The middle half of 16 axial slices: from 4 to 11.
    slices = preprocess([read_scan(tmp_path / "a_FLAIR.nii.gz")], preprocessing).slices
    np.testing.assert_allclose(compared.slices[[0, 2]], slices[[4, 11]], rtol=1e-3, atol=1e-3)


def test_four_evenly_spaced_scans_are_selected(tmp_path):
    for number in range(10):
        write_head(tmp_path / f"{number}_FLAIR.nii.gz")
    selected = select_probe_scans(tmp_path, ChannelRules())
    assert [case.path.name[0] for case in selected] == ["0", "3", "6", "9"]
    (one,) = select_probe_scans(tmp_path / "5_FLAIR.nii.gz", ChannelRules())
    assert one.path == tmp_path / "5_FLAIR.nii.gz"


def test_scans_of_two_channels_give_slices_of_both(tmp_path):
    for seed, name in enumerate(("sub-1_FLAIR", "sub-1_T1w", "sub-2_FLAIR")):
        write_head(tmp_path / f"{name}.nii.gz", lesions=3, seed=seed)
    rules = ChannelRules(("flair", "t1"), interchangeable=True)
    compared, _ = scan_probes(select_probe_scans(tmp_path, rules), PREPROCESSING, rules.channels)
    there = compared.slices.any(axis=(2, 3))
    assert there[0].tolist() == [True, True]
    assert there[-1].tolist() == [True, False]


def test_unusable_scans_raise_an_error(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        select_probe_scans(tmp_path / "none", ChannelRules())
    write_head(tmp_path / "sub-1_FLAIR.nii.gz")
    with pytest.raises(InputError, match="has no T1 image for 1 of 1 scan"):
        select_probe_scans(tmp_path, ChannelRules(("flair", "t1")))
