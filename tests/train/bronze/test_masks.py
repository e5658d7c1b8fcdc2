"""Masks of folders of scans, made in processes."""

from pathlib import Path

import nibabel as nib

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from wmh_runtime.dataset.case import Case
from wmh_runtime.phantom.cohort import plan_cohort, write_phantom
from wmh_train.bronze.masks import METHODS, write_masks


def case_of(path):
    return Case(path, Path(path.name))


def test_scans_are_segmented_in_a_process_unless_all_masks_are_there(tmp_path):
    (plan,) = plan_cohort(1, 5, (20, 40))
    with coarse_phantoms():
        write_phantom(plan, tmp_path / "scans")
    scan = plan.scan_path(tmp_path / "scans")
    broken = scan.with_name("broken_FLAIR.nii.gz")
    broken.write_bytes(b"no image")
    cases = [case_of(scan), case_of(broken)]
    errors = list(write_masks(cases, tmp_path / "masks", workers=1))
    (error,) = filter(None, errors)
    assert (len(errors), error.about) == (2, broken)
    masks = sorted((tmp_path / "masks").rglob("*.nii.gz"))
    assert [path.parent.name for path in masks] == sorted(METHODS)
    assert nib.load(masks[0]).shape == nib.load(scan).shape
    written = [path.stat().st_mtime_ns for path in masks]
    assert list(write_masks(cases[:1], tmp_path / "masks", workers=1)) == [None]
    assert [path.stat().st_mtime_ns for path in masks] == written
    masks[0].unlink()
    assert list(write_masks(cases[:1], tmp_path / "masks", workers=1)) == [None]
    assert masks[0].exists()
