import dataclasses
import math
import os
import signal
import sys
import types

import nibabel as nib
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.toys import write_annotated_heads
from tests.training_toys import (
    SMALL_RECIPE,
    fit_data,
    lora_recipe,
    small_recipe,
    write_small_pretrained,
)
from wmh_runtime.errors import InputError, InterruptionError, RecipeError
from wmh_train.checkpoint import load_metadata, load_network
from wmh_train.fit.fit import FitListener, fit
from wmh_train.identity import training_identity
from wmh_train.loop.distributed import open_accelerator
from wmh_train.loop.losses import Losses
from wmh_train.loop.schedule import learning_rate
from wmh_train.loop.training_loop import TrainingLoop
from wmh_train.model.network import build_network
from wmh_train.model.pretrained import read_pretrained
from wmh_train.model.sam_network import SamNetwork
from wmh_train.recipe.recipe import Recipe, ScheduleSettings


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return write_annotated_heads(tmp_path_factory.mktemp("heads"), 8)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return read_pretrained(
        write_small_pretrained(tmp_path_factory.mktemp("pretrained") / "pretrained.pth")
    )


class Listener(FitListener):
    def __init__(self, at_step=lambda report: None):
        self.preprocessed, self.steps, self.reports, self.lines, self.warnings = [], [], [], [], []
        self.at_step = at_step

    def preprocessing(self, done, total):
        self.preprocessed.append((done, total))

    def info(self, line):
        self.lines.append(line)

    def warning(self, line):
        self.warnings.append(line)

    def step(self, report):
        self.steps.append(report)
        self.at_step(report)

    def epoch(self, report):
        self.reports.append(report)

    def stopping(self):
        self.lines.append("stopping")


def with_schedule(**changes) -> Recipe:
    schedule = small_recipe().schedule.model_copy(update=changes)
    return small_recipe(schedule=ScheduleSettings.model_validate(schedule.model_dump()))


def test_training_improves_dice_and_reports_progress(heads, cache, tmp_path):
    listener = Listener()
    recipe = with_schedule(epochs=20, restart_epochs=19.5)
    metadata = fit(recipe, fit_data(heads, recipe), tmp_path, None, listener, cache=cache)
    assert listener.preprocessed[-1] == (8, 8)
    assert listener.lines == [
        "training: 6 scans, 36 slices, 12 with lesions, 6 steps per epoch;"
        " validation: 2 scans, 12 slices, 4 with lesions",
        "starting at step 0 on 1 × cpu, precision no",
    ]
    (warning,) = listener.warnings
    assert warning.startswith("only 2 validation persons with a mask that is not empty: best epoch")
    # 6 training heads with 6 slices: 12 with a lesion, and half of the 24 others. In batches of 4
    # slices, this is 6 steps.
    assert [(r.step, r.steps) for r in listener.steps] == [(i + 1, 120) for i in range(120)]
    assert [r.learning_rate for r in listener.steps] == [
        learning_rate(i, 6, recipe) for i in range(120)
    ]
    dices = [report.validation.mean for report in listener.reports]
    assert max(dices) > 0.5 > dices[0]
    assert metadata.epoch == dices.index(max(dices)) + 1
    assert metadata.validation.mean == pytest.approx(
        max(dices), abs=0.02
    )  # the stored weights are rounded
    assert metadata.finished
    assert len(metadata.split.validation) == 2  # 30 % of 8
    losses = listener.steps[0].losses
    parts = losses["focal"] + losses["dice"] + 0.5 * losses["boundary"] + losses["scales"]
    assert losses["total"] == pytest.approx(parts, rel=1e-5)


def test_the_history_is_written(heads, cache, tmp_path):
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


def test_the_same_recipe_gives_the_same_weights_and_another_seed_different_ones(
    heads, cache, tmp_path
):
    hashes = []
    for run, seed in (("a", 3), ("b", 3), ("c", 4)):
        recipe = with_schedule(seed=seed)
        metadata = fit(
            recipe, fit_data(heads, recipe), tmp_path / run, None, FitListener(), cache=cache
        )
        hashes.append(metadata.weights_sha256)
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("stop_signal", "step"),
    [(signal.SIGINT, 4), (signal.SIGTERM, 6)],  # within the first epoch, and at its last step
)
def test_a_training_stopped_by_a_signal_resumes_to_the_same_weights(
    heads, cache, tmp_path, stop_signal, step
):
    recipe = small_recipe()
    data = fit_data(heads, recipe)
    uninterrupted = fit(recipe, data, tmp_path / "a", None, FitListener(), cache=cache)

    def send_signal(report):
        if report.step == step:
            os.kill(os.getpid(), stop_signal)  # the training stops after the next step

    before = signal.getsignal(stop_signal)
    stopped = Listener(send_signal)
    with pytest.raises(InterruptionError, match=rf"stopped after step {step + 1} of 12, saved"):
        fit(recipe, data, tmp_path / "b", None, stopped, cache=cache)
    assert stopped.lines[-1] == "stopping"
    assert signal.getsignal(stop_signal) == before
    listener = Listener()
    metadata = fit(recipe, data, tmp_path / "b", None, listener, cache=cache)
    assert listener.lines[1].startswith(f"resuming after step {step + 1}")
    assert listener.steps[0].step == step + 2
    assert metadata.weights_sha256 == uninterrupted.weights_sha256


def test_a_recipe_that_needs_a_missing_library_is_refused_at_once(heads, tmp_path, monkeypatch):
    settings = SMALL_RECIPE["preprocessing"] | {"bias_correction": "n4"}
    recipe, listener = small_recipe(preprocessing=settings), Listener()
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(InputError, match="needs the library SimpleITK, which is not installed"):
        fit(recipe, fit_data(heads, recipe), tmp_path / "run", None, listener)
    assert listener.preprocessed == []
    assert not (tmp_path / "run").exists()


def test_a_site_without_validation_scans_gives_a_warning(heads, cache, tmp_path):
    recipe = small_recipe()
    data = fit_data(heads, recipe)
    sites = dict.fromkeys(data.split.training, "Amsterdam")
    sites |= {data.split.training[0]: ""} | dict.fromkeys(data.split.validation, "Utrecht")
    scans = tuple(dataclasses.replace(scan, site=sites.get(scan.name, "")) for scan in data.scans)
    listener = Listener()
    data = dataclasses.replace(data, scans=scans)
    metadata = fit(recipe, data, tmp_path, None, listener, cache=cache)
    assert metadata.provenance.training_sites == {"Amsterdam": 5}
    assert metadata.provenance.validation_sites == {"Utrecht": len(data.split.validation)}
    assert listener.warnings[-1] == "no validation scan of Amsterdam"
    assert listener.lines[0].startswith(
        "training: 6 scans (Amsterdam 5, site unknown 1), 36 slices"
    )


def test_a_finished_training_is_not_repeated_or_replaced_by_another(
    heads, cache, tmp_path, monkeypatch
):
    recipe = small_recipe()
    metadata = fit(recipe, fit_data(heads, recipe), tmp_path, None, FitListener(), cache=cache)
    monkeypatch.setattr(TrainingLoop, "run", lambda *_: pytest.fail("was trained again"))
    listener = Listener()
    again = fit(recipe, fit_data(heads, recipe), tmp_path, None, listener, cache=cache)
    assert again == metadata
    assert listener.lines == [f"{tmp_path}: already finished, nothing to train"]
    other = with_schedule(epochs=3)
    with pytest.raises(RecipeError, match=r"another training: its schedule\.epochs is 2, now 3"):
        fit(other, fit_data(heads, other), tmp_path, None, FitListener(), cache=cache)


def test_a_changed_mask_is_another_training(cache, tmp_path):
    heads = write_annotated_heads(tmp_path / "heads", 4)
    recipe = small_recipe()
    fit(recipe, fit_data(heads, recipe), tmp_path / "run", None, FitListener(), cache=cache)
    reference = heads / "derivatives" / "reference" / "sub-00_label-WMH_mask.nii.gz"
    mask = nib.load(reference)
    redrawn = np.asarray(mask.dataobj)[::-1]
    nib.save(nib.Nifti1Image(redrawn, mask.affine), reference)
    with pytest.raises(RecipeError, match="the content of a scan or mask has changed"):
        fit(recipe, fit_data(heads, recipe), tmp_path / "run", None, FitListener(), cache=cache)


def test_a_checkpoint_with_a_trained_encoder_needs_no_pretrained_weights(
    heads, cache, pretrained, tmp_path
):
    recipe = lora_recipe()
    encoder = recipe.network.encoder.model_copy(update={"trained": True})
    network = recipe.network.model_copy(update={"encoder": encoder, "lora": None})
    recipe = recipe.model_copy(update={"network": network})
    metadata = fit(
        recipe, fit_data(heads, recipe), tmp_path, pretrained, FitListener(), cache=cache
    )
    assert metadata.pretrained is None
    assert metadata.provenance.details["initial_weights"] == "pretrained.pth"
    load_network(tmp_path, metadata)


def test_accumulated_gradients_equal_those_of_the_whole_batch(heads, cache, tmp_path, monkeypatch):
    # With a mean over slices as loss, and without BatchNorm, the batch size has no effect.
    def mean_logit(self, logits, target):
        total = logits.fused.mean()
        return Losses(total, *[total.detach()] * 5)

    gradients = []
    clip = torch.nn.utils.clip_grad_norm_

    def recorded(parameters, *arguments, **options):
        gradients.append([p.grad.clone() for p in parameters if p.grad is not None])
        return clip(parameters, *arguments, **options)

    monkeypatch.setattr("torch.nn.functional.batch_norm", lambda image, *_, **__: image)
    monkeypatch.setattr("wmh_train.loop.losses.SegmentationLoss.forward", mean_logit)
    monkeypatch.setattr("torch.nn.utils.clip_grad_norm_", recorded)
    first = {}
    for micro_batch_size in (4, 2, 1):
        gradients.clear()
        recipe = with_schedule(micro_batch_size=micro_batch_size, epochs=1)
        data = fit_data(heads, recipe)
        fit(recipe, data, tmp_path / str(micro_batch_size), None, FitListener(), cache=cache)
        first[micro_batch_size] = gradients[0]
    assert any(gradient.abs().max() > 1e-3 for gradient in first[4])
    for micro_batch_size in (2, 1):
        for whole, parts in zip(first[4], first[micro_batch_size], strict=True):
            torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-6)


def test_forward_passes_have_the_micro_batch_size(heads, cache, tmp_path, monkeypatch):
    sizes = []
    forward = SamNetwork.forward

    def measured(self, image):
        if self.training:
            sizes.append(len(image))
        return forward(self, image)

    monkeypatch.setattr(SamNetwork, "forward", measured)
    recipe = with_schedule(micro_batch_size=2, epochs=1)
    fit(recipe, fit_data(heads, recipe), tmp_path, None, FitListener(), cache=cache)
    assert set(sizes[1:]) == {2}  # the first forward pass is the memory estimate
    assert len(sizes[1:]) == 12  # 6 steps of 4 slices


def test_a_loss_that_is_not_finite_stops_and_the_best_checkpoint_is_kept(
    heads, cache, tmp_path, monkeypatch
):
    run_step = TrainingLoop._run_step

    def with_nan_weights(self, slices, batch, epoch, step, rate):
        if step == 8:  # in the second epoch of 6 steps
            for parameter in self._network.parameters():
                parameter.data.fill_(math.nan)
        return run_step(self, slices, batch, epoch, step, rate)

    monkeypatch.setattr(TrainingLoop, "_run_step", with_nan_weights)
    recipe = small_recipe()
    with pytest.raises(
        RecipeError, match=r"in epoch 2; the best .* Reduce optimizer\.learning_rate"
    ):
        fit(recipe, fit_data(heads, recipe), tmp_path, None, FitListener(), cache=cache)
    metadata = load_metadata(tmp_path)
    assert (metadata.epoch, metadata.finished) == (1, False)
    kept = load_network(tmp_path, metadata)
    assert all(torch.isfinite(p).all() for p in kept.parameters())


def test_a_frozen_encoder_needs_pretrained_weights(heads, tmp_path):
    recipe = lora_recipe()
    with pytest.raises(
        RecipeError, match=r"needs pretrained weights, because its encoder is frozen"
    ):
        fit(recipe, fit_data(heads, recipe), tmp_path, None, FitListener())


def test_only_adapters_and_decoder_change(heads, cache, pretrained, tmp_path):
    recipe = lora_recipe()
    metadata = fit(
        recipe, fit_data(heads, recipe), tmp_path, pretrained, FitListener(), cache=cache
    )
    trained = load_network(tmp_path, metadata, pretrained.path)
    torch.manual_seed(recipe.schedule.seed)
    before = build_network(recipe, pretrained).state_dict()
    frozen = {name for name, p in trained.named_parameters() if not p.requires_grad}
    for name, tensor in trained.state_dict().items():
        assert name not in frozen or torch.equal(tensor, before[name]), name
    lora = [name for name in before if "lora_B" in name]
    assert lora
    assert all(trained.state_dict()[name].any() for name in lora)  # initialized to zero


def test_too_few_slices_for_a_batch_are_refused(heads, cache, tmp_path):
    recipe = with_schedule(batch_size=64)
    with pytest.raises(RecipeError, match=r"an epoch has 24 slices, fewer than a batch of 64"):
        fit(recipe, fit_data(heads, recipe), tmp_path, None, FitListener(), cache=cache)


def test_a_precision_that_the_device_does_not_support_is_refused():
    optimizer = small_recipe().optimizer.model_copy(update={"mixed_precision": "fp16"})
    with pytest.raises(RecipeError, match="cannot train in fp16"):
        open_accelerator(small_recipe(optimizer=optimizer))


def test_processes_that_are_not_connected_are_detected(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    one_process = types.SimpleNamespace(num_processes=1, device=torch.device("cpu"))
    monkeypatch.setattr("wmh_train.loop.distributed.Accelerator", lambda **_: one_process)
    with pytest.raises(RecipeError, match="2 processes were launched, but accelerate found 1"):
        open_accelerator(small_recipe())


class LaterSchedule(ScheduleSettings):
    novelty: int = 0


class LaterRecipe(Recipe):
    """The recipe of a later version, with new optional fields, one of them in a table."""

    schedule: LaterSchedule = LaterSchedule()
    novelty: int = 0


def test_new_optional_fields_of_the_recipe_keep_the_identity_of_a_training(heads):
    split = fit_data(heads, small_recipe()).split
    settings = small_recipe().model_dump()
    identity = training_identity(Recipe(**settings), split, None, {})
    assert training_identity(LaterRecipe(**settings), split, None, {}) == identity
    changed = LaterRecipe(**settings, novelty=1)
    assert training_identity(changed, split, None, {}) != identity
    changed = LaterRecipe(**settings | {"schedule": settings["schedule"] | {"novelty": 1}})
    assert training_identity(changed, split, None, {}) != identity
