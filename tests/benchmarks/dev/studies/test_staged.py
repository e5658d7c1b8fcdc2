"""The study of learning in stages, with tiny networks and toy heads."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.dev.studies.staged.heads import HeadCounts, scanners, share_sources
from benchmarks.dev.studies.staged.networks import RECIPE, VARIANTS, Variant, recipe_of
from benchmarks.dev.studies.staged.pictures import SHAPES, TEXTURES, draw_picture, write_weights
from benchmarks.dev.studies.staged.study import StudyListener, run_study
from tests.no_pool import NoPool
from tests.train.synthesis.toy_maps import write_toy_map, write_toy_mask
from tests.training_toys import SMALL_RECIPE
from wmh_runtime.evaluation.comparison.reports import read_reports
from wmh_train.bronze import masks
from wmh_train.fit.fit import FitListener
from wmh_train.model.convolutional.vgg16_unet import read_vgg16
from wmh_train.recipe.recipe import Recipe, load_recipe
from wmh_train.synthesis import cohort
from wmh_train.synthesis.cohort import Sources, find_images

UNET = {"monai_unet": {"widths": [4, 4, 8, 8, 12]}}


def test_networks_differ_in_architecture_and_stages_only():
    recipes = {one.name: recipe_of(one) for one in VARIANTS}
    assert len(recipes) == 5
    assert [stage.name for stage in recipes["unet-m3sl"].stage] == ["bronze", "silver", "gold"]
    assert recipes["vit-gold"].stage == []
    assert recipes["vit-m3sl"].network == recipes["vit-gold"].network
    assert recipes["vgg16-transfer"].optimizer.frozen_layers == 13
    staged, alone = recipes["unet-m3sl"], recipes["unet-gold"]
    # Both have the same number of epochs, all stages taken together.
    epochs = sum(staged.of_stage(one.name).schedule.epochs for one in staged.stage)
    assert alone.schedule.epochs == epochs == 10
    gold = staged.of_stage("gold")
    assert gold.data == alone.data
    assert (gold.loss, gold.augmentation) == (alone.loss, alone.augmentation)


def test_scanners_of_training_and_test_differ_in_noise_voxels_and_contrast():
    found = scanners()
    assert len(found) == 7
    assert len({one.model_dump_json() for one in found.values()}) == 7


def test_scanners_of_training_and_test_share_no_label_map_and_no_lesion():
    maps, masks = (
        [Path(f"{kind}-{k:02d}") for k in range(count)]
        for kind, count in (("map", 20), ("mask", 27))
    )
    shared = share_sources(Sources(maps, masks))
    assert set(shared) == set(scanners())
    training, test = shared["A"], shared["E"]
    assert shared["D"] is training
    assert shared["G"] is test
    for own, other, every in (
        (training.label_maps, test.label_maps, maps),
        (training.lesion_masks, test.lesion_masks, masks),
    ):
        assert sorted([*own, *other]) == every
        assert (len(own), len(other)) == (len(every) - len(every) // 3, len(every) // 3)


def test_pictures_of_each_kind_are_drawn_again_from_the_same_seed():
    for kind in range(SHAPES * TEXTURES):
        first, again = (draw_picture(kind, np.random.default_rng(3)) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert (first.shape, first.dtype) == ((64, 64), np.float32)
        assert 0 <= first.min() < first.max() <= 1
    drawn = [draw_picture(kind, np.random.default_rng(3)) for kind in range(SHAPES * TEXTURES)]
    assert len({picture.tobytes() for picture in drawn}) == SHAPES * TEXTURES


def test_the_weights_have_the_format_of_torchvision_and_are_kept(tmp_path):
    path, shares = tmp_path / "vgg16.pth", []
    write_weights(path, 2, lambda step, share: shares.append((step, share)))
    assert [step for step, _ in shares] == [1, 2]
    read_vgg16(path)
    before = path.read_bytes()
    write_weights(path, 2, lambda *_: pytest.fail("written again"))
    assert path.read_bytes() == before
    assert torch.isfinite(torch.load(path)["features.40.weight"]).all()


class Recording(FitListener):
    def __init__(self, tasks):
        self.tasks = tasks

    def step(self, report):
        self.tasks.append("step")


def test_the_study_runs_from_label_maps_to_statistics_and_continues(tmp_path, monkeypatch):
    pytest.importorskip("SimpleITK")
    for module in (masks, cohort):
        monkeypatch.setattr(module, "open_pool", NoPool)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # of a process of its own
    for name in ("maps", "masks"):
        (tmp_path / name).mkdir()
    for letter in "abc":
        write_toy_map(tmp_path / "maps" / f"{letter}.nii.gz")
        write_toy_mask(tmp_path / "masks" / f"{letter}.nii.gz")
    sources = Sources(find_images(tmp_path / "maps"), find_images(tmp_path / "masks"))
    tasks, warnings = [], []

    def begin(name, total):
        tasks.append(name)
        return lambda: None

    listener = StudyListener(begin, lambda name: Recording(tasks), warnings.append)
    small = ("optimizer", "augmentation")
    schedule = {"epochs": 1, "warmup_epochs": 0, "restart_epochs": 1, "patience_epochs": None}
    study = load_recipe(RECIPE).model_dump()
    base = study | {key: SMALL_RECIPE[key] for key in small if key in SMALL_RECIPE}
    base["preprocessing"] |= {"pixel_size_mm": 6.0, "size_px": 32}
    base["schedule"] |= schedule | {"batch_size": 4, "micro_batch_size": 4}
    base["data"] |= {"epoch_slices": 8}
    for stage in base["stage"]:
        stage["schedule"] = {}
    variants = [Variant("staged", UNET, is_staged=True), Variant("alone", UNET, is_staged=False)]
    arguments = {
        "counts": HeadCounts(unlabelled=1, expert=1, test=1),
        "variants": variants,
        "base": Recipe.model_validate(base),
    }
    result = run_study(sources, tmp_path / "out", 1, listener, **arguments)
    assert warnings == []
    assert [one.network for one in result.scores] == ["staged", "alone"]
    assert [one.stages for one in result.scores] == [["bronze", "silver", "gold"], []]
    assert all(one.heads == 3 for one in result.scores)
    assert {(one.first, one.second) for one in result.differences} == {("staged", "alone")}
    reports = {name: tmp_path / "out" / "reports" / name for name in ("staged", "alone")}
    scores = read_reports(reports)
    assert {scan.site for scan in scores.scans} == {"E", "F", "G"}
    mean = scores.values["dice"].mean(axis=1)
    assert [one.f_measure[0] for one in result.scores] == pytest.approx(mean, abs=1e-4)
    assert (tmp_path / "out" / "comparison" / "summary.md").exists()
    assert "step" in tasks
    tasks.clear()
    again = run_study(sources, tmp_path / "out", 1, listener, **arguments)
    assert again.scores == result.scores
    assert "step" not in tasks
