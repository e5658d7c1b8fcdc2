import dataclasses
import math
import os
import signal
import types

import nibabel as nib
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.toys import fit_data, lora_recipe, small_recipe, write_annotated_heads, write_small_base
from wmh_runtime.errors import InterruptionError, RecipeError
from wmh_train.checkpoint import load_facts, load_network
from wmh_train.loop.distributed import open_accelerator
from wmh_train.loop.fit import FitListener, fit
from wmh_train.loop.loop import TrainingLoop
from wmh_train.loop.losses import Losses
from wmh_train.loop.schedule import learning_rate
from wmh_train.model.base import read_base
from wmh_train.model.network import WmhNetwork
from wmh_train.recipe.recipe import Recipe, ScheduleSettings


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return write_annotated_heads(tmp_path_factory.mktemp("heads"), 8)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return read_base(write_small_base(tmp_path_factory.mktemp("base") / "base.pth"))


class Listener(FitListener):
    def __init__(self, at_step=lambda report: None):
        self.prepared, self.steps, self.reports, self.lines, self.warnings = [], [], [], [], []
        self.at_step = at_step

    def preparing(self, done, total):
        self.prepared.append((done, total))

    def starting(self, line):
        self.lines.append(line)

    def warning(self, line):
        self.warnings.append(line)

    def step(self, report):
        self.steps.append(report)
        self.at_step(report)

    def epoch(self, report):
        self.reports.append(report)


def with_schedule(**changes) -> Recipe:
    schedule = small_recipe().schedule.model_copy(update=changes)
    return small_recipe(schedule=ScheduleSettings.model_validate(schedule.model_dump()))


def test_training_learns_and_tells_how_it_goes(heads, cache, tmp_path):
    listener = Listener()
    recipe = with_schedule(epochs=20, restart_epochs=19)
    facts = fit(recipe, fit_data(heads, recipe), tmp_path, None, listener, cache=cache)
    assert listener.prepared[-1] == (8, 8)
    assert listener.lines == [
        "learns from 6 scans, 36 slices, 12 of them with lesions, 6 steps an epoch;"
        " validates on 2 scans, 12 slices, 4 of them with lesions",
        "begins at step 0 on 1 × cpu, precision no",
    ]
    (warning,) = listener.warnings
    assert warning.startswith("2 validation scans: the best epoch")
    # 6 training heads of 6 slices: 12 with lesion, half of the 24 without; in fours, 6 steps
    assert [(r.step, r.steps) for r in listener.steps] == [(i + 1, 120) for i in range(120)]
    assert [r.learning_rate for r in listener.steps] == [
        learning_rate(i, 6, recipe) for i in range(120)
    ]
    dices = [report.validation.mean for report in listener.reports]
    assert max(dices) > 0.5 > dices[0]
    assert facts.epoch == dices.index(max(dices)) + 1
    assert facts.validation.mean == pytest.approx(max(dices), abs=0.02)  # rounded weights
    assert facts.finished
    assert len(facts.split.validation) == 2  # 30 % of 8
    losses = listener.steps[0].losses
    parts = losses["focal"] + losses["dice"] + 0.5 * losses["boundary"] + losses["scales"]
    assert losses["total"] == pytest.approx(parts, rel=1e-5)


def test_the_course_can_be_looked_at(heads, cache, tmp_path):
    listener, recipe = Listener(), small_recipe()
    fit(recipe, fit_data(heads, recipe), tmp_path, None, listener, cache=cache)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    rates = [(e.step, e.value) for e in events.Scalars("learning_rate")]
    assert rates == [(i + 1, pytest.approx(learning_rate(i, 6, recipe))) for i in range(12)]
    scores = [e.value for e in events.Scalars("validation/dice")]
    assert scores == pytest.approx([r.validation.mean for r in listener.reports])
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("epoch,learning_rate,loss_total,")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_the_same_recipe_gives_the_same_weights_and_another_seed_others(heads, cache, tmp_path):
    hashes = []
    for run, seed in (("a", 3), ("b", 3), ("c", 4)):
        recipe = with_schedule(seed=seed)
        facts = fit(
            recipe, fit_data(heads, recipe), tmp_path / run, None, FitListener(), cache=cache
        )
        hashes.append(facts.weights_sha256)
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("request_to_end", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [4, 6])  # amid the first epoch, and at its last step
def test_a_training_that_is_asked_to_end_saves_and_goes_on_to_the_same_weights(
    heads, cache, tmp_path, request_to_end, step
):
    recipe = small_recipe()
    data = fit_data(heads, recipe)
    undisturbed = fit(recipe, data, tmp_path / "a", None, FitListener(), cache=cache)

    def end(report):
        if report.step == step:
            os.kill(os.getpid(), request_to_end)  # is heard at the end of the next step

    before = signal.getsignal(request_to_end)
    with pytest.raises(InterruptionError, match=rf"stopped after step {step + 1} of 12, saved"):
        fit(recipe, data, tmp_path / "b", None, Listener(end), cache=cache)
    assert signal.getsignal(request_to_end) == before
    listener = Listener()
    facts = fit(recipe, data, tmp_path / "b", None, listener, cache=cache)
    assert listener.lines[1].startswith(f"goes on after step {step + 1}")
    assert listener.steps[0].step == step + 2
    assert facts.weights_sha256 == undisturbed.weights_sha256


def test_a_site_that_nobody_validates_is_named(heads, cache, tmp_path):
    recipe = small_recipe()
    data = fit_data(heads, recipe)
    validating = set(data.split.validation)
    scans = tuple(
        dataclasses.replace(scan, site="Utrecht" if scan.name in validating else "Amsterdam")
        for scan in data.scans
    )
    listener = Listener()
    fit(recipe, dataclasses.replace(data, scans=scans), tmp_path, None, listener, cache=cache)
    assert listener.warnings[-1] == "no scan of Amsterdam among those that validate"
    assert listener.lines[0].startswith("learns from 6 scans (Amsterdam 6), 36 slices")


def test_a_finished_training_is_returned_at_once_and_another_does_not_replace_it(
    heads, cache, tmp_path, monkeypatch
):
    recipe = small_recipe()
    facts = fit(recipe, fit_data(heads, recipe), tmp_path, None, FitListener(), cache=cache)
    monkeypatch.setattr(TrainingLoop, "run", lambda *_: pytest.fail("was trained again"))
    again = fit(recipe, fit_data(heads, recipe), tmp_path, None, FitListener(), cache=cache)
    assert again == facts
    other = with_schedule(epochs=3)
    with pytest.raises(RecipeError, match=r"another training: its schedule\.epochs is 2, now 3"):
        fit(other, fit_data(heads, other), tmp_path, None, FitListener(), cache=cache)


def test_a_scan_that_changed_is_not_taken_for_the_one_that_was_learned_from(cache, tmp_path):
    heads = write_annotated_heads(tmp_path / "heads", 4)
    recipe = small_recipe()
    fit(recipe, fit_data(heads, recipe), tmp_path / "run", None, FitListener(), cache=cache)
    reference = heads / "derivatives" / "reference" / "sub-00_label-WMH_mask.nii.gz"
    mask = nib.load(reference)
    redrawn = np.asarray(mask.dataobj)[::-1]
    nib.save(nib.Nifti1Image(redrawn, mask.affine), reference)
    with pytest.raises(RecipeError, match="the content of a scan or mask has changed"):
        fit(recipe, fit_data(heads, recipe), tmp_path / "run", None, FitListener(), cache=cache)


def test_an_encoder_that_is_trained_needs_its_base_no_more(heads, cache, base, tmp_path):
    recipe = lora_recipe()
    encoder = recipe.network.encoder.model_copy(update={"trained": True})
    network = recipe.network.model_copy(update={"encoder": encoder, "lora": None})
    recipe = recipe.model_copy(update={"network": network})
    facts = fit(recipe, fit_data(heads, recipe), tmp_path, base, FitListener(), cache=cache)
    assert facts.base is None
    assert facts.provenance.details["begun_from"] == "base.pth"
    load_network(tmp_path, facts)


def test_accumulated_gradients_are_those_of_the_whole_batch(heads, cache, tmp_path, monkeypatch):
    # A loss that is a mean over slices, without BatchNorm, does not tell halves from wholes.
    def mean_logit(self, logits, target):
        total = logits.fused.mean()
        return Losses(total, *[total.detach()] * 4)

    seen = []
    clip = torch.nn.utils.clip_grad_norm_

    def recorded(parameters, *arguments, **options):
        seen.append([p.grad.clone() for p in parameters if p.grad is not None])
        return clip(parameters, *arguments, **options)

    monkeypatch.setattr("torch.nn.functional.batch_norm", lambda image, *_, **__: image)
    monkeypatch.setattr("wmh_train.loop.losses.SegmentationLoss.forward", mean_logit)
    monkeypatch.setattr("torch.nn.utils.clip_grad_norm_", recorded)
    first = {}
    for num_streams in (4, 2, 1):
        seen.clear()
        recipe = with_schedule(slices_at_once=num_streams, epochs=1)
        data = fit_data(heads, recipe)
        fit(recipe, data, tmp_path / str(num_streams), None, FitListener(), cache=cache)
        first[num_streams] = seen[0]
    assert any(gradient.abs().max() > 1e-3 for gradient in first[4])
    for num_streams in (2, 1):
        for whole, parts in zip(first[4], first[num_streams], strict=True):
            torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-6)


def test_no_more_slices_are_held_at_once_than_the_recipe_says(heads, cache, tmp_path, monkeypatch):
    sizes = []
    forward = WmhNetwork.forward

    def measured(self, image):
        if self.training:
            sizes.append(len(image))
        return forward(self, image)

    monkeypatch.setattr(WmhNetwork, "forward", measured)
    recipe = with_schedule(slices_at_once=2, epochs=1)
    fit(recipe, fit_data(heads, recipe), tmp_path, None, FitListener(), cache=cache)
    assert set(sizes[1:]) == {2}  # the first is the count of what a step needs
    assert len(sizes[1:]) == 12  # 6 steps of 4 slices


def test_a_loss_that_is_not_finite_ends_with_advice_and_the_best_checkpoint_is_kept(
    heads, cache, tmp_path, monkeypatch
):
    step = TrainingLoop._step

    def poisoned(self, batch, epoch, number, rate):
        if number == 8:  # in the second epoch of 6 steps
            for parameter in self._network.parameters():
                parameter.data.fill_(math.nan)
        return step(self, batch, epoch, number, rate)

    monkeypatch.setattr(TrainingLoop, "_step", poisoned)
    recipe = small_recipe()
    with pytest.raises(
        RecipeError, match=r"in epoch 2; the best .* Lower optimizer\.learning_rate"
    ):
        fit(recipe, fit_data(heads, recipe), tmp_path, None, FitListener(), cache=cache)
    facts = load_facts(tmp_path)
    assert (facts.epoch, facts.finished) == (1, False)
    kept = load_network(tmp_path, facts)
    assert all(torch.isfinite(p).all() for p in kept.parameters())


def test_a_frozen_encoder_wants_its_weights(heads, tmp_path):
    recipe = lora_recipe()
    with pytest.raises(RecipeError, match=r"frozen\. Give its weights: --base"):
        fit(recipe, fit_data(heads, recipe), tmp_path, None, FitListener())


def test_only_adapters_and_decoder_change_and_the_base_stays(heads, cache, base, tmp_path):
    recipe = lora_recipe()
    facts = fit(recipe, fit_data(heads, recipe), tmp_path, base, FitListener(), cache=cache)
    trained = load_network(tmp_path, facts, base.path)
    torch.manual_seed(recipe.schedule.seed)
    before = WmhNetwork(recipe, base).state_dict()
    frozen = {name for name, p in trained.named_parameters() if not p.requires_grad}
    for name, tensor in trained.state_dict().items():
        moved = not torch.equal(tensor, before[name])
        # Positions of an untrained patch may stay, and half precision alone would move most.
        assert not (moved and name in frozen), name
    lora = [name for name in before if "lora_B" in name]
    assert lora
    assert all(trained.state_dict()[name].any() for name in lora)  # it starts at zero


def test_too_few_slices_for_a_batch_are_refused(heads, cache, tmp_path):
    recipe = with_schedule(batch_size=64)
    with pytest.raises(RecipeError, match=r"draws 24 slices, fewer than a batch of 64"):
        fit(recipe, fit_data(heads, recipe), tmp_path, None, FitListener(), cache=cache)


def test_a_precision_the_device_cannot_do_is_refused():
    optimizer = small_recipe().optimizer.model_copy(update={"mixed_precision": "fp16"})
    with pytest.raises(RecipeError, match="cannot train in fp16"):
        open_accelerator(small_recipe(optimizer=optimizer))


def test_processes_that_do_not_find_each_other_are_noticed(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    alone = types.SimpleNamespace(num_processes=1, device=torch.device("cpu"))
    monkeypatch.setattr("wmh_train.loop.distributed.Accelerator", lambda **_: alone)
    with pytest.raises(RecipeError, match="2 processes were launched, 1 found each other"):
        open_accelerator(small_recipe())
