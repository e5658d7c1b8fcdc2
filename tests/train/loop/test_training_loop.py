"""The optimizer step: its slices, augmentation, learning rate and micro-batches."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.amp import GradScaler

from tests.conftest import REPOSITORY
from tests.toys import write_annotated_heads
from tests.train.loop.loop_worker import CLIP_NORM, RECIPE, Recording, open_slices, record
from wmh_runtime.errors import RecipeError
from wmh_train.augmentation.augment import augment
from wmh_train.data.sampling import draw_epoch
from wmh_train.loop.distributed import open_accelerator
from wmh_train.loop.resume import ResumeFile, TrainingState
from wmh_train.loop.schedule import learning_rate
from wmh_train.loop.training_loop import LoopListener, TrainingLoop
from wmh_train.model.network import build_network

# 6 training heads with 6 slices: 12 with a lesion, and half of the 24 others. In batches of 4
# slices, this is 6 steps per epoch.
STEPS_PER_EPOCH, STEPS = 6, 12


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop")
    return write_annotated_heads(folder / "heads", 8), folder / "cache"


@pytest.fixture(scope="module")
def slices(folders):
    return open_slices(*folders)


@pytest.fixture(scope="module")
def one_process(slices):
    return record(*slices)


@pytest.fixture(scope="module")
def two_processes(folders, slices, tmp_path_factory):
    """Recordings of two processes, with BatchNorm and the recipe's loss, and simplified."""
    out = tmp_path_factory.mktemp("two_processes")
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
            *("-m", "tests.train.loop.loop_worker", *map(str, (*folders, out))),
        ],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        check=True,
    )
    recordings = [torch.load(out / f"{rank}.pt") for rank in range(2)]
    return {
        simplified: [Recording(**recording[simplified]) for recording in recordings]
        for simplified in (False, True)
    }


def batches(training):
    """Indices of the slices of each step, (STEPS, 4)."""
    epochs = [
        draw_epoch(training.with_target, training.sites, RECIPE.data, seed=3, epoch=epoch)
        for epoch in range(2)
    ]
    return np.stack([epoch[:24] for epoch in epochs]).reshape(STEPS, 4)


def test_the_optimizer_uses_the_learning_rate_of_the_schedule(one_process, two_processes):
    expected = [learning_rate(step, STEPS_PER_EPOCH, RECIPE) for step in range(STEPS)]
    assert len(set(expected)) > STEPS_PER_EPOCH
    for recording in (one_process, *two_processes[False]):
        assert recording.rates == expected


def test_a_step_uses_its_batch_in_micro_batches(one_process, slices):
    # micro-batches of two slices, in order
    assert one_process.indices == batches(slices[0]).reshape(-1, 2).tolist()


def test_two_processes_share_each_batch(two_processes, slices):
    first, second = (recording.indices for recording in two_processes[False])
    assert len(first) == len(second) == STEPS
    for own, other, batch in zip(first, second, batches(slices[0]), strict=True):
        assert sorted([*own, *other]) == sorted(batch)  # each slice once


def test_network_inputs_are_augmented_by_epoch_and_draw(one_process, two_processes, slices):
    # A pass takes two slices. Of two processes, the first one takes each first pair of four.
    for recording, passes_per_epoch, first in (
        (one_process, 12, 0),
        *((recording, 6, 2 * rank) for rank, recording in enumerate(two_processes[False])),
    ):
        assert len(recording.images) == 2 * passes_per_epoch
        for number, (indices, images) in enumerate(
            zip(recording.indices, recording.images, strict=True)
        ):
            unchanged = tuple(map(torch.from_numpy, slices[0].read(indices)))
            epoch, passes = divmod(number, passes_per_epoch)
            draw = first + passes * (24 // passes_per_epoch)
            expected, _ = augment(
                *unchanged, RECIPE.augmentation, seed=3, epoch=epoch, draws=[draw, draw + 1]
            )
            assert not torch.equal(unchanged[0], expected)
            torch.testing.assert_close(images, expected, rtol=0, atol=1e-6)


def test_the_gradient_norm_over_all_parameters_is_clipped(one_process, two_processes):
    for recording in (one_process, *two_processes[False]):
        for before, after in zip(recording.unclipped, recording.clipped, strict=True):
            assert before.norm() > 2 * CLIP_NORM
            assert after.norm() == pytest.approx(CLIP_NORM, rel=1e-3)
            torch.testing.assert_close(after, before * CLIP_NORM / before.norm())


def test_two_processes_have_the_gradients_of_one(two_processes, slices):
    reference = record(*slices, simplified=True)
    for recording in two_processes[True]:
        for expected, gradient in zip(reference.unclipped, recording.unclipped, strict=True):
            assert expected.norm() > 2 * CLIP_NORM
            assert (gradient - expected).norm() < 1e-2 * expected.norm()


def test_batch_norm_has_fixed_statistics_after_its_epochs(slices):
    schedule = RECIPE.schedule.model_copy(update={"batch_statistics_epochs": 0.5})
    recording = record(*slices, recipe=RECIPE.model_copy(update={"schedule": schedule}))
    assert len(recording.means) == STEPS_PER_EPOCH  # half of the steps, two micro-batches each
    running = torch.zeros(len(recording.means[0]))
    for mean in recording.means:
        running = 0.9 * running + 0.1 * mean  # PyTorch's momentum of 0.1
    name = next(name for name in recording.statistics if name.endswith("running_mean"))
    torch.testing.assert_close(recording.statistics[name], running)


def test_running_statistics_include_all_slices(two_processes):
    first, second = two_processes[False]
    name = next(name for name in first.statistics if name.endswith("running_mean"))
    running = torch.zeros(len(first.means[0]))
    for own, other in zip(first.means, second.means, strict=True):
        running = 0.9 * running + 0.1 * (own + other) / 2  # PyTorch's momentum of 0.1
        assert (own - other).norm() > 1e-3
    for recording in (first, second):
        torch.testing.assert_close(recording.statistics[name], running)
    for name, values in first.statistics.items():
        assert torch.equal(values, second.statistics[name]), name


class InfiniteGradient(LoopListener):
    """Makes one gradient infinite in the given steps, while the loss is finite."""

    def __init__(self, network, steps):
        self.done, self.reports = 0, []
        self._steps = steps
        next(network.decoder.parameters()).register_hook(self._change)

    def _change(self, gradient):
        return gradient * math.inf if self.done in self._steps else gradient

    def step(self, report):
        self.done = report.step
        self.reports.append(report)


def weights(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (2, r"the gradient is not finite in epoch 1\. Reduce optimizer\.learning_rate"),
        (8, r"the gradient is not finite in epoch 2; the best checkpoint so far is kept\. Reduce"),
    ],
)
def test_a_gradient_that_is_not_finite_does_not_change_weights(slices, tmp_path, step, message):
    network = build_network(RECIPE)
    listener = InfiniteGradient(network, {step})
    loop = TrainingLoop(network, RECIPE, *slices, open_accelerator(RECIPE))
    resume_file = ResumeFile(tmp_path, every_s=0)
    with pytest.raises(RecipeError, match=message):
        loop.run(resume_file.load("", 1), resume_file, listener)
    assert listener.done == step  # valid steps
    saved = resume_file.load("", 1).network
    for name, tensor in weights(network).items():
        assert torch.isfinite(tensor).all(), name
        assert torch.equal(tensor, saved[name]), name  # as after the last valid step


def with_scaler():
    """An accelerator with the gradient scaler of fp16, without a GPU."""
    accelerator = open_accelerator(RECIPE)
    accelerator.scaler = GradScaler("cpu", init_scale=2.0**16)
    return accelerator


def test_a_step_with_gradient_overflow_is_skipped_and_the_scale_halved(slices, tmp_path):
    state, resume_file = TrainingState("", 1), ResumeFile(tmp_path, every_s=1e9)
    network = build_network(RECIPE)
    listener = InfiniteGradient(network, {0, 1})
    loop = TrainingLoop(network, RECIPE, *slices, with_scaler())
    loop.run(state, resume_file, listener)
    assert listener.done == STEPS
    assert state.scaler["scale"] == 2.0**14  # halved twice


def test_repeated_gradient_overflow_stops_the_training(slices, tmp_path, monkeypatch):
    monkeypatch.setattr("wmh_train.loop.training_loop._MAX_SKIPPED_STEPS", 4)
    network = build_network(RECIPE)
    listener = InfiniteGradient(network, {1, 2, *range(4, 12)})
    before = weights(network)
    loop = TrainingLoop(network, RECIPE, *slices, with_scaler())
    with pytest.raises(RecipeError, match="the gradient is not finite in epoch 2"):
        loop.run(TrainingState("", 1), ResumeFile(tmp_path, every_s=1e9), listener)
    assert listener.done == 7  # steps 1 and 2 are skipped, 3 is valid, 4 to 7 are skipped
    moved = [not torch.equal(p, before[name]) for name, p in weights(network).items()]
    assert any(moved)
    assert all(torch.isfinite(p).all() for p in weights(network).values())
