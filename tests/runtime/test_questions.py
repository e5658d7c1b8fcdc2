"""Slices to ask about: where the lesions are, of phantoms and of a user's scans."""

import numpy as np
import pytest

from tests.toys import write_head
from wmh_runtime.errors import InputError
from wmh_runtime.phantom.cohort import CALIBRATION_SEED, PARITY_SEED
from wmh_runtime.prepare import Preparation
from wmh_runtime.questions import phantom_questions, scan_questions

PREPARATION = Preparation(pixel_size_mm=4.0, size_px=64)


@pytest.fixture(scope="module")
def questions():
    return phantom_questions(PARITY_SEED, PREPARATION, channels=2, slices=7)


def test_phantoms_of_three_sites_in_turn(questions):
    assert questions.slices.shape == (7, 2, 64, 64)
    assert questions.slices.dtype == np.float32
    np.testing.assert_array_equal(questions.slices[:, 0], questions.slices[:, 1])
    # All sites have slices of 3 mm: 4 mm · 4 mm · 3 mm = 0.048 mL.
    np.testing.assert_allclose(questions.pixel_ml, 0.048)


def test_another_seed_gives_others(questions):
    other = phantom_questions(CALIBRATION_SEED, PREPARATION, channels=2, slices=7)
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
    questions = scan_questions(tmp_path, PREPARATION, channels=1, slices=4)
    assert questions.slices.shape == (4, 1, 64, 64)
    np.testing.assert_allclose(questions.pixel_ml, 4 * 4 * 5 / 1000)
    one = scan_questions(tmp_path / "a_FLAIR.nii.gz", PREPARATION, channels=1, slices=4)
    assert 2 <= len(one) <= 4  # six slices: the middle half has no more


def test_what_cannot_be_asked_about_is_said(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        scan_questions(tmp_path / "none", PREPARATION, channels=1, slices=4)
    with pytest.raises(InputError, match=r"shows one channel, this network takes 2"):
        scan_questions(tmp_path, PREPARATION, channels=2, slices=4)
