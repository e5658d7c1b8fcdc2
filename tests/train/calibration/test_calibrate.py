import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from tests.toys import fit_data, small_recipe, write_annotated_heads
from wmh_runtime.bundle.manifest import Choice
from wmh_runtime.errors import RecipeError
from wmh_runtime.postprocessing.lesions import Output
from wmh_train.calibration.calibrate import calibrate_checkpoint, edges_of
from wmh_train.calibration.threshold_sweep import MIN_LESIONS_MM3, THRESHOLDS
from wmh_train.checkpoint import SweptCalibration, load_facts
from wmh_train.loop.fit import FitListener, fit


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
    chosen = calibrate_checkpoint(folder, data.scans, None, lambda: scans.append(1))
    assert load_facts(folder).calibration == chosen
    assert [choice.views for choice in chosen.choices] == [8, 1]
    assert len(scans) == chosen.scans == len(data.split.validation)
    assert len(chosen.surface) == 2 * len(THRESHOLDS) * len(MIN_LESIONS_MM3)
    for choice in chosen.choices:
        points = [point for point in chosen.surface if point.views == choice.views]
        assert choice.mean_dice[0] == pytest.approx(max(p.mean_dice for p in points), abs=1e-4)
        (output,) = choice.outputs
        (point,) = (
            p
            for p in points
            if (p.threshold, p.min_lesion_mm3) == (output.threshold, output.min_lesion_mm3)
        )
        assert choice.mean_lesion_f1[0] == pytest.approx(point.mean_lesion_f1, abs=1e-4)
    assert chosen.outputs == chosen.choices[0].outputs
    assert chosen.choices[0].mean_dice[0] > 0.5


def test_calibrating_twice_chooses_the_same(trained):
    folder, data = trained
    first, second = (calibrate_checkpoint(folder, data.scans, None, lambda: None) for _ in "12")
    assert first == second


def test_scans_that_are_not_there_are_told(trained):
    folder, data = trained
    with pytest.raises(RecipeError, match=r"2 of the checkpoint's validation scans are not there"):
        calibrate_checkpoint(folder, data.those(data.split.training), None, lambda: None)


def test_a_mask_that_was_drawn_again_is_told(trained, tmp_path):
    folder, data = trained
    shutil.copytree(folder, tmp_path / "run")
    first, *_ = data.those(data.split.validation)
    drawn_again = tmp_path / "mask.nii.gz"
    image = nib.load(first.references[0])
    labels = np.asarray(image.dataobj).copy()
    labels[8, 6, 2] = 0  # a voxel of its first cube
    nib.save(nib.Nifti1Image(labels, image.affine), drawn_again)
    scans = [replace(s, references=(drawn_again,)) if s == first else s for s in data.scans]
    said = rf"{first.name} is not what the checkpoint was validated on: scan or mask has changed"
    with pytest.raises(RecipeError, match=said):
        calibrate_checkpoint(tmp_path / "run", scans, None, lambda: None)
    assert load_facts(tmp_path / "run") == load_facts(folder)
    # The files' content counts, not where they lie.
    shutil.copy(first.references[0], drawn_again)
    calibrate_checkpoint(tmp_path / "run", scans, None, lambda: None)


def test_a_network_that_finds_nothing_is_told_and_no_edge_of_it():
    output = Output(name="wmh", threshold=0.15, min_lesion_mm3=0.0)
    nothing = Choice(views=8, outputs=[output], mean_dice=[0.0], mean_lesion_f1=[0.0])
    calibration = SweptCalibration(choices=[nothing], scans=1, lesion_f1_weight=0, surface=[])
    (line,) = edges_of(calibration)
    assert line.startswith("wmh, 8 views: no lesion is found at any threshold")


def test_a_choice_at_the_edge_of_the_sweep_is_told():
    def choice(views, threshold, min_lesion_mm3):
        output = Output(name="wmh", threshold=threshold, min_lesion_mm3=min_lesion_mm3)
        return Choice(views=views, outputs=[output], mean_dice=[0.5], mean_lesion_f1=[0.5])

    def told(*choices):
        one = SweptCalibration(choices=choices, scans=1, lesion_f1_weight=0.5, surface=[])
        return [line.partition(" lies at the edge")[0] for line in edges_of(one)]

    assert told(choice(8, 0.2, 0.0), choice(1, 0.85, 15.0)) == []
    assert told(choice(8, 0.9, 3.0), choice(1, 0.15, 30.0)) == [
        "wmh, 8 views: threshold 0.9",
        "wmh, 1 view: threshold 0.15",
        "wmh, 1 view: minimum 30 mm³",
    ]
