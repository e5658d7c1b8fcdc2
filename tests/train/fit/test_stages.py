"""Stages: each starts from the best of the one before, and the whole resumes exactly."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from tests.networks import small_convolutional_recipe
from tests.toys import write_annotated_heads
from wmh_runtime.errors import InputError, InterruptionError, RecipeError
from wmh_runtime.files.tables import read_table
from wmh_train.checkpoint import has_checkpoint, load_metadata, load_network, read_tensors
from wmh_train.data.layouts import find_dataset
from wmh_train.data.stage_splits import split_stages
from wmh_train.fit.fit import FitListener
from wmh_train.fit.stages import StageData, fit_stages
from wmh_train.initial_weights import read_initial_weights
from wmh_train.model.layers import network_layers
from wmh_train.model.network import build_network
from wmh_train.recipe.recipe import Recipe, load_recipe
from wmh_train.recipe.template import recipe_to_toml

STAGES = [
    {"name": "bronze", "data": {"validation_share": 0.2}},
    {
        "name": "gold",
        "data": {"validation_share": 0.2, "test_share": 0.2},
        "optimizer": {"frozen_layers": 4, "learning_rate": 1e-3},
        "schedule": {"epochs": 3, "restart_epochs": 2.5, "select_by": "iou"},
    },
]


@pytest.fixture(scope="module")
def folder_of_heads(tmp_path_factory):
    return write_annotated_heads(tmp_path_factory.mktemp("heads"), 10)


@pytest.fixture(scope="module")
def heads(folder_of_heads):
    return find_dataset(folder_of_heads, ["flair"], ["wmh"]).scans


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def staged_recipe(stages=STAGES) -> Recipe:
    return small_convolutional_recipe("unet", stage=stages)


def stage_data(heads):
    bronze = tuple(replace(head, name=f"{head.name} a") for head in heads)
    return [StageData("bronze", "tool", bronze), StageData("gold", "experts", tuple(heads[:6]))]


class Stop(FitListener):
    """Sends SIGTERM after a step, counted over all stages."""

    def __init__(self, after):
        self.left, self.lines = after, []

    def info(self, line):
        self.lines.append(line)

    def step(self, report):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def finished(heads, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    listener = Stop(after=-1)
    fit_stages(staged_recipe(), stage_data(heads), out, None, listener, cache=cache)
    return out, listener


def test_each_stage_starts_from_the_best_of_the_one_before(finished):
    out, listener = finished
    assert [line for line in listener.lines if line.startswith("stage")] == [
        "stage 1 of 2, bronze: no layers frozen",
        "stage 2 of 2, gold: 4 layers frozen",
    ]
    bronze, gold = (load_metadata(out / name) for name in ("1-bronze", "2-gold"))
    assert gold.provenance.details["initial_weights"] == "stage bronze"
    before, after = (
        read_tensors(out / name, one) for name, one in (("1-bronze", bronze), ("2-gold", gold))
    )
    network = build_network(staged_recipe())
    names = {p: name for name, p in network.named_parameters()}
    frozen = {names[p] for layer in network_layers(network)[:4] for p in layer.parameters}
    statistics = {
        name
        for name in before
        if name.endswith(("running_mean", "running_var"))
        and f"{name.rsplit('.', 1)[0]}.weight" in frozen
    }
    assert statistics
    for name in before:
        is_same = torch.equal(before[name], after[name])
        assert is_same or name not in frozen | statistics, name
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_folder_holds_the_last_stage_and_says_what_each_did(finished, heads):
    out, _ = finished
    metadata, gold = load_metadata(out), load_metadata(out / "2-gold")
    assert metadata.weights_sha256 == gold.weights_sha256
    assert metadata.finished
    load_network(out, metadata)
    first, second = metadata.provenance.stages
    assert (first.name, first.data, first.frozen_layers) == ("bronze", "tool", 0)
    assert (second.name, second.data, second.frozen_layers) == ("gold", "experts", 4)
    assert second.trained_parameters < first.trained_parameters
    assert second.validation == gold.validation
    assert (metadata.recipe.name, gold.recipe.name) == ("small", "small/gold")
    rows = read_table(out / "history.csv")
    assert [row["stage"] for row in rows] == ["bronze"] * 2 + ["gold"] * 3
    assert (out / "curves.png").stat().st_size > 1000
    # 6 persons have masks of experts: one for the test, one for validation; none was learned from.
    held_out = {*gold.split.test, *gold.split.validation}
    assert len(gold.split.test) == len(gold.split.validation) == 1
    bronze = load_metadata(out / "1-bronze")
    assert not {name.removesuffix(" a") for name in bronze.split.training} & held_out
    assert {f"{name} a" for name in gold.split.validation} <= set(bronze.split.validation)


# The bronze stage has 6 to 8 steps in each of 2 epochs, so the last is in the gold stage.
@pytest.mark.parametrize("after", [1, 5, 20])
def test_a_stopped_training_resumes_to_the_same_weights(finished, heads, cache, tmp_path, after):
    arguments = (staged_recipe(), stage_data(heads), tmp_path, None)
    with pytest.raises(InterruptionError, match="Run the same command to resume"):
        fit_stages(*arguments, Stop(after), cache=cache)
    metadata = fit_stages(*arguments, Stop(-1), cache=cache)
    assert metadata.weights_sha256 == load_metadata(finished[0]).weights_sha256
    assert metadata.provenance.stages == load_metadata(finished[0]).provenance.stages


@pytest.fixture(scope="module")
def train_until_killed(folder_of_heads, cache):
    """A function that trains in a fork of one process, which kills itself at a moment."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.train.fit.stages_worker"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def train(out, moment):
        arguments = (folder_of_heads, out, cache, moment, torch.get_num_threads())
        worker.stdin.write(json.dumps([1, *map(str, arguments)]) + "\n")
        worker.stdin.flush()
        assert int(worker.stdout.readline()) == -signal.SIGKILL, moment

    with worker:  # closes its input in the end, and waits for it
        yield train


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.exhaustive
def test_a_training_killed_in_its_second_stage_ends_with_the_same_weights(
    finished, heads, cache, tmp_path, train_until_killed
):
    gold = tmp_path / "2-gold"
    train_until_killed(tmp_path, "between")
    assert load_metadata(tmp_path / "1-bronze").finished
    assert not gold.exists()
    # The gold stage has 4 steps in each of 3 epochs. The state is saved after each epoch.
    for moment, epochs in (("writing", 0), ("saving", 1), ("6", 1)):
        train_until_killed(tmp_path, moment)
        assert len(list(gold.glob(".wmh-partial-*.pt"))) == (moment == "saving")
        assert (gold / "resume.pt").exists() == (epochs > 0)
        if epochs:
            state = torch.load(gold / "resume.pt", weights_only=True)
            assert (state["epoch"], state["step"]) == (epochs, 0)
    train_until_killed(tmp_path, "copying")
    assert load_metadata(gold).finished
    assert not has_checkpoint(tmp_path)
    fit_stages(staged_recipe(), stage_data(heads), tmp_path, None, Stop(-1), cache=cache)
    for folder in ("", "1-bronze", "2-gold"):
        killed, uninterrupted = (load_metadata(out / folder) for out in (tmp_path, finished[0]))
        for key in ("weights_sha256", "validation", "epoch"):
            assert getattr(killed, key) == getattr(uninterrupted, key)
        float32 = [one.provenance.details["last_float32_sha256"] for one in (killed, uninterrupted)]
        assert float32[0] == float32[1]
    stages = [load_metadata(out).provenance.stages for out in (tmp_path, finished[0])]
    assert stages[0] == stages[1]
    assert not list(tmp_path.rglob("resume.pt"))
    assert not list(tmp_path.rglob(".wmh-partial-*"))


def test_early_stopping_ends_a_stage_also_after_a_resume(heads, cache, tmp_path):
    schedule = {"epochs": 30, "restart_epochs": 29.5, "patience_epochs": 2}
    recipe = staged_recipe(
        [{"name": "gold", "data": {"validation_share": 0.2}, "schedule": schedule}]
    )
    recipe = recipe.model_copy(
        update={"optimizer": recipe.optimizer.model_copy(update={"learning_rate": 1e-5})}
    )
    data = [StageData("gold", "experts", tuple(heads))]
    whole = fit_stages(recipe, data, tmp_path / "whole", None, FitListener(), cache=cache)
    rows = read_table(tmp_path / "whole" / "history.csv")
    with pytest.raises(InterruptionError):
        fit_stages(recipe, data, tmp_path / "b", None, Stop(len(rows) * 4 - 2), cache=cache)
    resumed = fit_stages(recipe, data, tmp_path / "b", None, FitListener(), cache=cache)
    assert len(read_table(tmp_path / "b" / "history.csv")) == len(rows)
    assert resumed.weights_sha256 == whole.weights_sha256
    scores = [float(row["validation_dice"]) for row in rows]
    assert len(rows) < 30
    assert len(rows) == scores.index(max(scores)) + 1 + 2


def test_a_stage_has_the_settings_of_the_recipe_with_its_changes(tmp_path):
    recipe = staged_recipe()
    gold = recipe.of_stage("gold")
    assert gold.stage == []
    assert gold.name == "small/gold"
    assert gold.optimizer.learning_rate == 1e-3
    assert gold.optimizer.mixed_precision == recipe.optimizer.mixed_precision == "no"
    assert gold.schedule.warmup_epochs == recipe.schedule.warmup_epochs
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_to_toml(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"name": "a"}, {"name": "a"}], "two stages have the same name"),
        ([{"name": "a", "schedule": {"epoch": 3}}], "stage a: .*epoch"),
        ([{"name": "a", "data": {"validation_share": 2}}], "stage a: .*validation_share"),
        ([{"name": "A b"}], "name"),
    ],
)
def test_a_wrong_stage_is_named(tmp_path, stages, message):
    path = tmp_path / "recipe.toml"
    lines = recipe_to_toml(small_convolutional_recipe("unet")).splitlines()
    for stage in stages:
        lines += ["", "[[stage]]", f'name = "{stage["name"]}"']
        lines += [
            f"{table} = {{ {key} = {value} }}"
            for table, changes in stage.items()
            if table != "name"
            for key, value in changes.items()
        ]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def refused(heads, cache, tmp_path, match, *, stages=STAGES, data=None, error=RecipeError):
    """Expect an error before the first step of any stage."""
    listener = Stop(after=1)
    data = stage_data(heads) if data is None else data
    with pytest.raises(error, match=match):
        fit_stages(staged_recipe(stages), data, tmp_path / "out", None, listener, cache=cache)
    assert listener.left == 1
    return tmp_path / "out"


def test_a_later_stage_without_anything_to_train_is_found_before_the_first_one(
    heads, cache, tmp_path
):
    stages = [STAGES[0], STAGES[1] | {"optimizer": {"frozen_layers": 99}}]
    out = refused(heads, cache, tmp_path, "nothing to train", stages=stages)
    assert not (out / "1-bronze").exists()


def test_a_schedule_that_ends_high_is_warned_of_before_the_first_stage(heads, cache, tmp_path):
    lines = []

    class Early(Stop):
        def warning(self, line):
            lines.append(line)

    schedule = {"epochs": 3, "restart_epochs": 40, "warmup_epochs": 0}
    recipe = staged_recipe([STAGES[0], STAGES[1] | {"schedule": schedule}])
    with pytest.raises(InterruptionError):
        fit_stages(recipe, stage_data(heads), tmp_path, None, Early(1), cache=cache)
    assert any(line.startswith("small/gold: the learning rate is still") for line in lines)


def test_a_mask_on_another_grid_is_found_before_the_first_stage(heads, cache, tmp_path):
    bronze, gold = stage_data(heads)
    mask = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5), np.uint8), np.eye(4)), mask)
    wrong = replace(gold.scans[0], references=(mask,))
    data = [bronze, replace(gold, scans=(wrong, *gold.scans[1:]))]
    refused(heads, cache, tmp_path, "grid|voxels", data=data, error=InputError)


def test_masks_of_the_test_are_checked_too(heads, cache, tmp_path):
    bronze, gold = stage_data(heads)
    mask = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5), np.uint8), np.eye(4)), mask)
    splits = split_stages(
        [(one.name, one.scans, staged_recipe().of_stage(one.name).data) for one in (bronze, gold)],
        staged_recipe().schedule.seed,
    )
    (test,) = splits[1].test
    scans = [replace(one, references=(mask,)) if one.name == test else one for one in gold.scans]
    data = [bronze, replace(gold, scans=tuple(scans))]
    refused(heads, cache, tmp_path, "grid|voxels", data=data, error=InputError)


def test_one_image_under_two_names_is_not_learned_from_and_tested_on(heads, cache, tmp_path):
    bronze, gold = stage_data(heads)
    copies = [replace(scan, name=f"copy-{k}", subject=f"copy-{k}") for k, scan in enumerate(heads)]
    data = [replace(bronze, scans=tuple(copies)), gold]
    refused(heads, cache, tmp_path, "are the same image", data=data)


def test_the_folder_of_another_training_is_refused(finished, heads, cache):
    out, _ = finished
    before = load_metadata(out)
    renamed = [STAGES[0], STAGES[1] | {"name": "expert"}]
    bronze, gold = stage_data(heads)
    data = [bronze, replace(gold, name="expert")]
    with pytest.raises(RecipeError, match="it has stages bronze, gold, the recipe has bronze, exp"):
        fit_stages(staged_recipe(renamed), data, out, None, FitListener(), cache=cache)
    assert load_metadata(out) == before


def test_several_processes_are_refused(heads, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused(heads, cache, tmp_path, "in stages runs in one process, but 2")


def test_weights_know_the_images_of_all_stages(finished, heads):
    out, _ = finished
    initial = read_initial_weights(out)
    learned = {
        name.removesuffix(" a")
        for folder in ("1-bronze", "2-gold")
        for name in load_metadata(out / folder).split.training
    }
    keys = {head.name: "with other masks" for head in heads}
    assert set(initial.trained_on(heads, keys)) == learned
    only_gold = load_metadata(out).split.training
    assert len(learned) > len(only_gold)
