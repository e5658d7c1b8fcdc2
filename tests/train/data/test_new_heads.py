"""Synthetic heads that are made for each epoch."""

import nibabel as nib
import numpy as np
import pytest

from tests.toys import write_annotated_heads
from tests.train.synthesis.toy_maps import write_toy_map
from tests.training_toys import SMALL_RECIPE, fit_data, small_recipe, write_toml
from wmh_runtime.errors import InterruptionError, RecipeError
from wmh_train.checkpoint import load_metadata
from wmh_train.cli import main
from wmh_train.data import new_heads
from wmh_train.data.new_heads import NewHeads
from wmh_train.fit.fit import FitListener, fit
from wmh_train.recipe.recipe import DataSettings
from wmh_train.synthesis.cohort import Sources


def with_new_heads(epochs):
    recipe = small_recipe()
    schedule = recipe.schedule.model_copy(update={"epochs": epochs, "restart_epochs": epochs})
    data = DataSettings(
        epoch_slices=8,
        new_heads=1,
        site_shares={"synthetic": 0.5},
        validation_share=0.3,
        test_share=0,
    )
    return recipe.model_copy(update={"data": data, "schedule": schedule})


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return Sources([write_toy_map(tmp_path_factory.mktemp("maps") / "a.nii.gz")])


@pytest.mark.exhaustive
def test_each_epoch_has_new_heads_which_depend_on_its_number_only(sources, tmp_path):
    recipe = with_new_heads(epochs=3)
    folder = tmp_path / ".new-heads" / "a"
    with NewHeads(sources, recipe, tmp_path, "a") as heads:
        first, second = heads.slices(0), heads.slices(1)
        images = second.read([8])[0]
        assert [slices.scans[0].site for slices in (first, second)] == ["synthetic"] * 2
        assert first.scans[0].name != second.scans[0].name
        assert not (folder / "epoch-0").exists()
        heads.slices(2)  # the last one: there is nothing to make ahead
        assert [path.name for path in folder.iterdir()] == ["epoch-2"]
    with NewHeads(sources, recipe, tmp_path, "b") as heads:  # another training
        assert not folder.exists()
        again = heads.slices(1)
        assert [scan.name for scan in again.scans] == [scan.name for scan in second.scans]
        np.testing.assert_array_equal(again.read([8])[0], images)


@pytest.mark.exhaustive
def test_a_signal_ends_the_wait_for_heads_and_they_are_continued(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(new_heads, "available_cores", lambda: 2)  # one process: the others wait
    data = DataSettings(epoch_slices=8, new_heads=5)
    recipe = with_new_heads(epochs=1).model_copy(update={"data": data})
    with (
        NewHeads(sources, recipe, tmp_path, "a") as heads,
        pytest.raises(InterruptionError, match="stopped while new heads were made"),
    ):
        heads.slices(0, lambda: bool(list(tmp_path.rglob("*_FLAIR.nii.gz"))))
    (first, *others) = tmp_path.rglob("*_FLAIR.nii.gz")
    assert len(others) < 4
    written = first.stat().st_mtime_ns
    with NewHeads(sources, recipe, tmp_path, "a") as heads:
        assert len(heads.slices(0).scans) == 5
    assert first.stat().st_mtime_ns == written


class StopInEpoch(FitListener):
    """Stops the training after a step."""

    def __init__(self, step):
        self._step = step

    def step(self, report):
        if report.step == self._step:
            raise KeyboardInterrupt


@pytest.mark.exhaustive
def test_a_resumed_training_with_new_heads_has_the_same_weights(sources, tmp_path):
    recipe = with_new_heads(epochs=2)
    data = fit_data(write_annotated_heads(tmp_path / "data", 4), recipe)
    whole = fit(recipe, data, tmp_path / "whole", None, FitListener(), sources=sources)
    steps = 8 // recipe.schedule.batch_size
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, data, tmp_path / "parts", None, StopInEpoch(steps + 1), sources=sources)
    parts = fit(recipe, data, tmp_path / "parts", None, FitListener(), sources=sources)
    assert parts.weights_sha256 == whole.weights_sha256
    assert not (tmp_path / "parts" / ".new-heads").exists()
    assert whole.provenance.new_heads == 1
    image = nib.load(sources.label_maps[0])
    other_map = tmp_path / "b.nii.gz"
    labels = np.flip(np.asarray(image.dataobj), axis=2)
    nib.save(nib.Nifti1Image(labels, image.affine), other_map)
    others = fit(
        recipe, data, tmp_path / "others", None, FitListener(), sources=Sources([other_map])
    )
    assert others.weights_sha256 != whole.weights_sha256


def test_label_maps_and_new_heads_belong_together(sources, tmp_path):
    recipe = small_recipe()
    data = fit_data(write_annotated_heads(tmp_path / "data", 4), recipe)
    with pytest.raises(RecipeError, match="makes no new heads, so label maps are not used"):
        fit(recipe, data, tmp_path / "a", None, FitListener(), sources=sources)
    with pytest.raises(RecipeError, match=r"makes 1 new head for each epoch .* Give label maps"):
        fit(with_new_heads(2), data, tmp_path / "a", None, FitListener())
    assert not (tmp_path / "a").exists()


@pytest.mark.exhaustive
def test_the_command_trains_with_new_heads(sources, tmp_path, run_command):
    table = SMALL_RECIPE | {"data": {"epoch_slices": 8, "new_heads": 1, "test_share": 0}}
    recipe = write_toml(tmp_path / "recipe.toml", table)
    data = write_annotated_heads(tmp_path / "data", 4)
    call = (main, "fit", recipe, "--data", data, "--out", tmp_path / "run")
    status, _, errors = run_command(*call, "--lesion-masks", tmp_path)
    assert (status, "--lesion-masks: needs --label-maps" in errors) == (2, True)
    maps = sources.label_maps[0].parent
    status, output, errors = run_command(*call, "--label-maps", maps)
    assert status == 0, errors
    assert ", 1 new head in each epoch," in output
    assert load_metadata(tmp_path / "run").finished
