"""What is read of a visit, and the level map that is interpolated."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from tests.runtime.change.visit_scans import box, write_visit
from wmh_runtime.change.acquisition import Acquisition
from wmh_runtime.change.measure import inputs_sha256
from wmh_runtime.change.visits import level_map, read_visit
from wmh_runtime.errors import InputError

MASK = box((6, 10), (6, 10), (3, 6), shape=(16, 18, 10))


def test_the_level_is_one_half_at_the_threshold():
    probability = np.array([0, 0.2, 0.4, 0.7, 1], np.float32).reshape(5, 1, 1)
    level = level_map(probability >= 0.4, probability, 0.4)
    # Below: 0.5 · p / 0.4; above: 0.5 + 0.5 · (p - 0.4) / 0.6.
    assert level.ravel() == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_where_map_and_mask_disagree_the_mask_counts():
    probability = np.array([0.9, 0.1], np.float32).reshape(2, 1, 1)
    mask = np.array([False, True]).reshape(2, 1, 1)
    assert level_map(mask, probability, 0.5).ravel() == pytest.approx([0.49, 1])


def test_without_a_map_the_mask_is_the_level():
    assert level_map(MASK, None, 0.5).sum() == MASK.sum()


def test_a_threshold_of_one_is_possible():
    probability = np.array([0.5, 1], np.float32).reshape(2, 1, 1)
    assert level_map(probability >= 1, probability, 1.0).ravel().tolist() == [0.25, 0.5]


def test_a_visit_is_read_with_its_regions(tmp_path):
    visit = write_visit(tmp_path, "ses-1", MASK)
    numbers = np.zeros(MASK.shape, np.uint8)
    numbers[2:14, 2:16, 1:9] = 1
    numbers[7:9, 7:9, 4:6] = 2
    regions = tmp_path / "brain_dseg.nii.gz"
    nib.save(nib.Nifti1Image(numbers, np.diag([2.0, 2.0, 3.0, 1.0])), regions)
    without_names = read_visit(replace(visit, regions=regions))
    assert without_names.brain.sum() == 12 * 14 * 8
    assert set(without_names.regions.masks()) == {"brain"}
    regions.with_name("brain_dseg.tsv").write_text("index\tname\n1\tbrain\n2\tventricles\n")
    images = read_visit(replace(visit, regions=regions))
    assert images.regions.masks()["ventricles"].sum() == 8
    assert images.regions.masks()["brain"].sum() == 12 * 14 * 8
    assert images.volume_ml == pytest.approx(4 * 4 * 3 * 12 / 1000)


def test_a_visit_is_read_with_the_acquisition_of_its_scan(tmp_path):
    visit = write_visit(tmp_path, "ses-1", MASK)
    assert read_visit(visit).acquisition == Acquisition()
    before = inputs_sha256([visit], "sub-1")
    sidecar = tmp_path / "sub-1_ses-1_FLAIR.json"
    sidecar.write_text('{"SeriesDescription": "any"}')
    assert inputs_sha256([visit], "sub-1") == before
    sidecar.write_text('{"EchoTime": 0.09}')
    assert inputs_sha256([visit], "sub-1") != before
    assert read_visit(visit).acquisition.numbers == {"EchoTime": 0.09}


def test_a_mask_on_another_grid_is_refused(tmp_path):
    visit = write_visit(tmp_path, "ses-1", MASK)
    nib.save(nib.Nifti1Image(np.ones((16, 18, 9), np.uint8), np.eye(4)), visit.mask)
    with pytest.raises(InputError, match="is not on the grid of"):
        read_visit(visit)


def test_regions_without_a_brain_are_refused(tmp_path):
    visit = write_visit(tmp_path, "ses-1", MASK)
    regions = tmp_path / "brain_dseg.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(MASK.shape, np.uint8), np.eye(4)), regions)
    with pytest.raises(InputError, match="contains no brain"):
        read_visit(replace(visit, regions=regions))
