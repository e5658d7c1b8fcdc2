import csv
import shutil

import nibabel as nib
import pytest
import torch

from tests.toys import write_annotated_heads
from tests.training_toys import SMALL_RECIPE, small_recipe
from wmh_runtime.errors import RecipeError
from wmh_train import cross_validation as module
from wmh_train.checkpoint import load_metadata, read_tensors, save_metadata
from wmh_train.cross_validation import FoldListener, cross_validate
from wmh_train.data.layouts import find_dataset
from wmh_train.fit.fit import FitListener
from wmh_train.initial_weights import read_initial_weights

FOLDS = 3


class Listener(FoldListener):
    def __init__(self):
        self.folds, self.tested = [], []

    def fold(self, fold, folds):
        self.folds.append((fold, folds))
        return FitListener()

    def testing(self, done, total):
        self.tested.append((done, total))


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds")
    recipe = small_recipe(outputs=["wmh", "stroke"])
    heads = write_annotated_heads(folder / "heads", 7, outputs=("WMH", "STROKE"))
    data = find_dataset(heads, recipe.channels, recipe.outputs)
    listener = Listener()
    evaluations = cross_validate(recipe, data, FOLDS, folder / "out", None, listener)
    return recipe, data, folder / "out", evaluations, listener


def test_every_scan_is_a_test_scan_in_exactly_one_fold(validated):
    _, data, out, _, listener = validated
    tested = []
    for fold in range(1, FOLDS + 1):
        metadata = load_metadata(out / f"fold-{fold}")
        assert metadata.finished
        assert metadata.calibration is not None
        assert not set(metadata.split.test) & {*metadata.split.training, *metadata.split.validation}
        tested += metadata.split.test
    assert sorted(tested) == [scan.name for scan in data.scans]
    assert listener.folds == [(1, 3), (2, 3), (3, 3)]
    assert len(listener.tested) == 7


def test_the_report_covers_all_scans_on_their_original_grids(validated):
    _, data, out, evaluations, _ = validated
    assert list(evaluations) == ["wmh", "stroke"]
    assert evaluations["wmh"].overall.count == 7
    with (out / "report-wmh" / "metrics.csv").open(encoding="utf-8") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert sorted(names) == [scan.name for scan in data.scans]
    for output in ("wmh", "stroke"):
        summary = (out / f"report-{output}" / "summary.md").read_text(encoding="utf-8")
        assert summary.startswith(f"# Evaluation of {output.upper()} masks\n")
    for scan in data.scans:
        (path,) = out.glob(f"fold-*/predictions/{scan.name}_label-WMH_mask.nii.gz")
        assert nib.load(path).shape == nib.load(scan.channels[0]).shape


def test_finished_folds_are_kept(validated, monkeypatch):
    recipe, data, out, evaluations, _ = validated
    monkeypatch.setattr(module, "calibrate_checkpoint", lambda *_: pytest.fail("calibrated again"))
    monkeypatch.setattr(module, "write_on_grid_of", lambda *_: pytest.fail("segmented again"))
    monkeypatch.setattr(
        "wmh_train.loop.training_loop.TrainingLoop.run", lambda *_: pytest.fail("trained again")
    )
    assert cross_validate(recipe, data, FOLDS, out, None, FoldListener()) == evaluations


def test_masks_of_another_checkpoint_are_replaced(validated, tmp_path):
    recipe, data, out, _, _ = validated
    copied = tmp_path / "copied"
    shutil.copytree(out, copied)
    metadata = load_metadata(copied / "fold-2")
    point = metadata.calibration.operating_points[0]
    other = [output.model_copy(update={"threshold": 0.9}) for output in point.outputs]
    points = [point.model_copy(update={"outputs": other}), metadata.calibration.operating_points[1]]
    calibration = metadata.calibration.model_copy(update={"operating_points": points})
    save_metadata(copied / "fold-2", metadata.model_copy(update={"calibration": calibration}))
    listener = Listener()
    cross_validate(recipe, data, FOLDS, copied, None, listener)
    assert [total for _, total in listener.tested] == [len(metadata.split.test)] * len(
        metadata.split.test
    )


@pytest.mark.exhaustive
def test_every_fold_may_start_from_another_training(validated, tmp_path):
    _, data, out, _, _ = validated
    start = read_initial_weights(out / "fold-1")
    slow = small_recipe(
        outputs=["wmh", "stroke"],
        schedule=SMALL_RECIPE["schedule"] | {"lowest_learning_rate": 1e-8},
        optimizer={"learning_rate": 1e-7, "mixed_precision": "no"},
    )
    warned = []
    listener = Listener()
    listener.warning = warned.append
    cross_validate(slow, data, 2, tmp_path / "out", None, listener, initial=start)
    for fold in (1, 2):
        folder = tmp_path / "out" / f"fold-{fold}"
        tuned = read_tensors(folder, load_metadata(folder))
        weights = [name for name in tuned if name.endswith("weight")]
        assert weights
        assert all(torch.allclose(tuned[one], start.tensors[one], atol=1e-3) for one in weights)
    learned = len(start.origin.split.training)
    expected = f"was trained on {learned} of the 7 scans, such as {start.origin.split.training[0]}"
    assert [line for line in warned if expected in line]


def test_several_processes_are_refused(validated, monkeypatch):
    recipe, data, out, _, _ = validated
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="runs in one process, but 2 were launched"):
        cross_validate(recipe, data, FOLDS, out, None, FoldListener())


def test_another_number_of_folds_needs_another_folder(validated):
    recipe, data, out, _, _ = validated
    with pytest.raises(RecipeError, match=r"fold-1: contains a checkpoint of another .* split"):
        cross_validate(recipe, data, 2, out, None, FoldListener())
