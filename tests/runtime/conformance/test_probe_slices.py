"""Slices to ask about: where the lesions are, of phantoms and of a user's scans."""

import numpy as np
import pytest

from tests.toys import write_head
from wmh_export.phantom_probes import phantom_probes
from wmh_runtime.conformance.probe_slices import choose_scans, scan_probes
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.phantom.cohort import CALIBRATION_SEED, PARITY_SEED
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess

PREPARATION = Preprocessing(pixel_size_mm=4.0, size_px=64)


@pytest.fixture(scope="module")
def questions():
    return phantom_probes(PARITY_SEED, PREPARATION, channels=2, slices=7)


def test_phantoms_of_three_sites_in_turn(questions):
    assert questions.slices.shape == (7, 2, 64, 64)
    assert questions.slices.dtype == np.float32
    np.testing.assert_array_equal(questions.slices[:, 0], questions.slices[:, 1])
    # All sites have slices of 3 mm: 4 mm · 4 mm · 3 mm = 0.048 mL.
    np.testing.assert_allclose(questions.pixel_ml, 0.048)


def test_another_seed_gives_others(questions):
    other = phantom_probes(CALIBRATION_SEED, PREPARATION, channels=2, slices=7)
    assert np.abs(other.slices - questions.slices).mean() > 0.1


def test_slices_are_what_half_the_bytes_can_hold(questions):
    np.testing.assert_array_equal(questions.slices.astype(np.float16), questions.slices)


def test_dealing_out_loses_none(questions):
    first, second = questions.alternately()
    assert (len(first), len(second)) == (4, 3)
    np.testing.assert_array_equal(first.slices[1], questions.slices[2])
    np.testing.assert_array_equal(second.slices[0], questions.slices[1])


def test_scans_are_asked_about_in_their_middle(tmp_path):
    for name in ("a", "b"):
        write_head(tmp_path / f"{name}_FLAIR.nii.gz", lesions=3)
    # Six slices each: the middle half, from 1.5 to 3.5, is slices 1, 2 and 3 of a, then of b.
    compared, learned_from = scan_probes(choose_scans(tmp_path), PREPARATION, channels=1)
    assert compared.slices.shape == learned_from.slices.shape == (3, 1, 64, 64)
    np.testing.assert_allclose(compared.pixel_ml, 4 * 4 * 5 / 1000)
    prepared = preprocess([read_scan(tmp_path / "a_FLAIR.nii.gz")], PREPARATION).slices
    np.testing.assert_allclose(learned_from.slices[0], prepared[2], atol=1e-2)


def test_of_many_scans_four_are_chosen_from_first_to_last(tmp_path):
    for number in range(10):
        write_head(tmp_path / f"{number}_FLAIR.nii.gz")
    assert [path.name[0] for path in choose_scans(tmp_path)] == ["0", "3", "6", "9"]
    assert choose_scans(tmp_path / "5_FLAIR.nii.gz") == [tmp_path / "5_FLAIR.nii.gz"]


def test_what_cannot_be_asked_about_is_said(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        choose_scans(tmp_path / "none")
    with pytest.raises(InputError, match=r"--scans: show one channel, this network takes 2"):
        scan_probes([tmp_path], PREPARATION, channels=2)
