import shutil
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from tests.toys import write_annotated_heads
from tests.training_toys import SMALL_RECIPE, fit_data, small_recipe
from wmh_runtime.bundle.calibration import OperatingPoint
from wmh_runtime.errors import InputError, RecipeError, UnexpectedError
from wmh_runtime.postprocessing.lesions import Output
from wmh_train.calibration.calibrate import calibrate, calibrate_checkpoint, sweep_warnings
from wmh_train.calibration.threshold_sweep import MIN_LESIONS_MM3, THRESHOLDS
from wmh_train.checkpoint import CalibrationWithSweep, load_metadata
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.fit.fit import FitListener, fit
from wmh_train.model.network import build_network


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    heads = write_annotated_heads(folder / "heads", 8)
    schedule = small_recipe().schedule.model_copy(update={"epochs": 12, "restart_epochs": 11})
    recipe = small_recipe(schedule=schedule)
    data = fit_data(heads, recipe)
    fit(recipe, data, folder / "run", None, FitListener())
    return folder / "run", data


def test_a_checkpoint_is_calibrated_with_eight_views_and_with_one(trained):
    folder, data = trained
    scans = []
    calibration = calibrate_checkpoint(folder, data.scans, None, lambda: scans.append(1))
    assert load_metadata(folder).calibration == calibration
    assert [point.views for point in calibration.operating_points] == [8, 1]
    assert len(scans) == calibration.scans == len(data.split.validation)
    assert len(calibration.threshold_sweep) == 2 * len(THRESHOLDS) * len(MIN_LESIONS_MM3)
    for operating_point in calibration.operating_points:
        sweep = [p for p in calibration.threshold_sweep if p.views == operating_point.views]
        best_dice = max(p.mean_dice for p in sweep)
        assert operating_point.mean_dice[0] == pytest.approx(best_dice, abs=1e-4)
        (output,) = operating_point.outputs
        (point,) = (
            p
            for p in sweep
            if (p.threshold, p.min_lesion_mm3) == (output.threshold, output.min_lesion_mm3)
        )
        assert operating_point.mean_lesion_f1[0] == pytest.approx(point.mean_lesion_f1, abs=1e-4)
    assert calibration.outputs == calibration.operating_points[0].outputs
    assert calibration.operating_points[0].mean_dice[0] > 0.5


def test_calibrating_twice_gives_the_same_result(trained):
    folder, data = trained
    first, second = (calibrate_checkpoint(folder, data.scans, None, lambda: None) for _ in "12")
    assert first == second


def test_missing_validation_scans_are_reported(trained):
    folder, data = trained
    with pytest.raises(RecipeError, match="2 validation scans of the checkpoint are missing"):
        calibrate_checkpoint(folder, data.scans_named(data.split.training), None, lambda: None)


def test_a_recipe_that_needs_a_missing_library_is_refused(tmp_path, monkeypatch):
    settings = SMALL_RECIPE["preprocessing"] | {"bias_correction": "n4"}
    recipe = small_recipe(preprocessing=settings)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(InputError, match="needs the library SimpleITK, which is not installed"):
        calibrate(build_network(recipe, None), recipe, [], lambda: None, tmp_path)


def test_a_changed_mask_is_refused(trained, tmp_path):
    folder, data = trained
    shutil.copytree(folder, tmp_path / "run")
    first, *_ = data.scans_named(data.split.validation)
    changed_mask = tmp_path / "mask.nii.gz"
    image = nib.load(first.references[0])
    labels = np.asarray(image.dataobj).copy()
    labels[10, 6, 2] = 0  # a voxel of its first cube
    nib.save(nib.Nifti1Image(labels, image.affine), changed_mask)
    scans = [replace(s, references=(changed_mask,)) if s == first else s for s in data.scans]
    message = f"the scan or mask {first.name} has changed since the training"
    with pytest.raises(RecipeError, match=message):
        calibrate_checkpoint(tmp_path / "run", scans, None, lambda: None)
    assert load_metadata(tmp_path / "run") == load_metadata(folder)
    # The content of the files matters, not their path.
    shutil.copy(first.references[0], changed_mask)
    calibrate_checkpoint(tmp_path / "run", scans, None, lambda: None)


def test_a_bug_met_with_one_scan_names_the_scan(trained, monkeypatch):
    folder, data = trained
    monkeypatch.setattr(AnnotatedScan, "load", lambda scan: 1 / 0)
    with pytest.raises(UnexpectedError, match=r"FLAIR.*: unexpected error \(ZeroDivisionError"):
        calibrate_checkpoint(folder, data.scans, None, lambda: None)
    (folder / "errors.log").unlink()


def test_a_network_without_lesions_gives_only_that_warning():
    output = Output(name="wmh", threshold=0.15, min_lesion_mm3=0.0)
    point = OperatingPoint(views=8, outputs=[output], mean_dice=[0.0], mean_lesion_f1=[0.0])
    calibration = CalibrationWithSweep(operating_points=[point], scans=1, threshold_sweep=[])
    (line,) = sweep_warnings(calibration)
    assert line.startswith("wmh, 8 views: no lesion is found at any threshold")


def test_a_value_at_the_edge_of_the_sweep_gives_a_warning():
    def operating_point(views, threshold, min_lesion_mm3):
        output = Output(name="wmh", threshold=threshold, min_lesion_mm3=min_lesion_mm3)
        return OperatingPoint(views=views, outputs=[output], mean_dice=[0.5], mean_lesion_f1=[0.5])

    def warnings(*points):
        one = CalibrationWithSweep(operating_points=points, scans=1, threshold_sweep=[])
        return [line.partition(" is at the edge")[0] for line in sweep_warnings(one)]

    assert warnings(operating_point(8, 0.2, 0.0), operating_point(1, 0.85, 15.0)) == []
    assert warnings(operating_point(8, 0.9, 3.0), operating_point(1, 0.15, 30.0)) == [
        "wmh, 8 views: threshold 0.9",
        "wmh, 1 view: threshold 0.15",
        "wmh, 1 view: minimum 30 mm³",
    ]
