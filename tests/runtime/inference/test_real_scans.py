"""The model of this package on real scans."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wmh_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cohort.job import Job, Progress
from wmh_runtime.cohort.local_engine import LocalEngine
from wmh_runtime.cohort.run import run
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.outputs.paths import Extras

SUBJECTS = ("sub-L03", "sub-L20", "sub-07")  # two with thick slices, one in MNI space


@pytest.fixture(scope="module")
def results(test_data, tmp_path_factory):
    """Three FLAIRs, once, in one view: an eighth of the time, and it need not be right."""
    out = tmp_path_factory.mktemp("results")
    bundle = load_bundle()
    found = discover(test_data / "open-ms", out)
    found = replace(
        found, scans=tuple(case for case in found.scans if case.relative.parts[1] in SUBJECTS)
    )
    job = Job(found, out, bundle, bundle.manifest.outputs, extras=Extras(probability=True))
    with OnnxRuntimeBackend.from_bundle(bundle, views=1) as backend:
        outcome = run(job, LocalEngine([backend]), Progress())
    assert (len(outcome.done), outcome.failed) == (len(SUBJECTS), [])
    return out


def test_every_scan_has_a_result_on_its_own_grid_with_finite_probabilities(test_data, results):
    for subject in SUBJECTS:
        (path,) = (test_data / "open-ms").rglob(f"{subject}/*_FLAIR.nii.gz")
        scan = nib.load(path)
        stem = results / path.parent.relative_to(test_data / "open-ms")
        stem = stem / path.name.replace("_FLAIR.nii.gz", "_label-WMH")
        for kind, dtype in (("mask", np.uint8), ("probseg", np.float32)):
            result = nib.load(f"{stem}_{kind}.nii.gz")
            voxels = np.asarray(result.dataobj)
            assert voxels.dtype == dtype
            assert voxels.shape == scan.shape
            assert np.isfinite(voxels).all()
            assert (voxels.min(), voxels.max() <= 1) == (0, True)
            for field in ("qform_code", "sform_code", "pixdim", "srow_x", "srow_y", "srow_z"):
                np.testing.assert_array_equal(result.header[field], scan.header[field])
        record = json.loads(Path(f"{stem}_mask.json").read_text())
        voxel_ml = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
        mask = np.asarray(nib.load(f"{stem}_mask.nii.gz").dataobj)
        assert record["volume_ml"] == pytest.approx(mask.sum() * voxel_ml, abs=1e-3)


def test_no_slice_that_was_skipped_holds_lesion(test_data, results):
    for reference in (test_data / "open-ms" / "mni" / "sub-07").rglob("*_lesion.nii.gz"):
        name = reference.name.replace("_lesion.nii.gz", "_label-WMH_probseg.nii.gz")
        probability = nib.load(results / "mni" / reference.parent.name / name).get_fdata()
        lesions = nib.load(reference).get_fdata() > 0
        skipped = ~probability.any(axis=(0, 1))
        assert skipped.any()
        assert not lesions[:, :, skipped].any()


def test_t1_under_a_neutral_name_is_doubted_and_flair_is_not(test_data):
    with Segmenter.from_bundle(load_bundle(), InferenceOptions(tta="none")) as segmenter:
        for subject in ("sub-T01", "sub-T05", "sub-T08"):
            is_doubted = {}
            for contrast in ("T1w", "FLAIR"):
                path = test_data / "ms3seg" / subject / f"{subject}_{contrast}.nii.gz"
                warnings = segmenter.segment(path).warnings
                is_doubted[contrast] = any("as in T1" in warning for warning in warnings)
            assert is_doubted == {"T1w": True, "FLAIR": False}


def test_the_brain_and_the_locations_of_lesions_are_known(results):
    for path in results.rglob("*_mask.json"):
        record = json.loads(path.read_text())
        assert 850 < record["regions_ml"]["brain"] < 1500
        located = sum(found["volume_ml"] for found in record["locations"].values())
        assert located == pytest.approx(record["volume_ml"], abs=1e-3)
