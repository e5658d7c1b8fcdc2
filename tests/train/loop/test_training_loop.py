"""What one optimizer step is: which slices, how changed, with which rate, in however many parts."""

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
from tests.train.loop.loop_worker import CLIP_NORM, RECIPE, Watched, open_slices, watch
from wmh_runtime.errors import RecipeError
from wmh_train.augmentation.augment import augment
from wmh_train.data.sampling import draw_epoch
from wmh_train.loop.distributed import open_accelerator
from wmh_train.loop.loop import LoopListener, TrainingLoop
from wmh_train.loop.resume import StateKeeper, TrainingState
from wmh_train.loop.schedule import learning_rate
from wmh_train.model.network import WmhNetwork

# 6 training heads of 6 slices: 12 with lesion, half of the 24 without; in fours, 6 steps an epoch
STEPS_PER_EPOCH, STEPS = 6, 12


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop")
    return write_annotated_heads(folder / "heads", 8), folder / "cache"


@pytest.fixture(scope="module")
def slices(folders):
    return open_slices(*folders)


@pytest.fixture(scope="module")
def alone(slices):
    return watch(*slices)


@pytest.fixture(scope="module")
def together(folders, slices, tmp_path_factory):
    """What each of two processes saw, with and without BatchNorm and the recipe's loss."""
    out = tmp_path_factory.mktemp("together")
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
            *("-m", "tests.train.loop.loop_worker", *map(str, (*folders, out))),
        ],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        check=True,
    )
    seen = [torch.load(out / f"{rank}.pt") for rank in range(2)]
    return {plain: [Watched(**one[plain]) for one in seen] for plain in (False, True)}


def batches(training):
    """Places of the slices of each step, (STEPS, 4)."""
    epochs = [draw_epoch(training.with_lesion, 0.5, seed=3, epoch=epoch) for epoch in range(2)]
    return np.stack([epoch[:24] for epoch in epochs]).reshape(STEPS, 4)


def test_the_optimizer_meets_the_rate_of_every_step(alone, together):
    expected = [learning_rate(step, STEPS_PER_EPOCH, RECIPE) for step in range(STEPS)]
    assert len(set(expected)) > STEPS_PER_EPOCH
    for seen in (alone, *together[False]):
        assert seen.rates == expected


def test_a_step_learns_from_its_batch_in_parts(alone, slices):
    # parts of two slices, one after the other
    assert alone.places == batches(slices[0]).reshape(-1, 2).tolist()


def test_two_processes_share_each_batch(together, slices):
    first, second = (seen.places for seen in together[False])
    assert len(first) == len(second) == STEPS
    for one, other, batch in zip(first, second, batches(slices[0]), strict=True):
        assert sorted([*one, *other]) == sorted(batch)  # each of its slices once


def test_what_enters_the_network_is_augmented_by_epoch_and_place(alone, together, slices):
    for seen, parts_of_epoch in ((alone, 12), *((seen, 6) for seen in together[False])):
        assert len(seen.images) == 2 * parts_of_epoch
        for part, (places, images) in enumerate(zip(seen.places, seen.images, strict=True)):
            plain = tuple(map(torch.from_numpy, slices[0].read(places)))
            epoch = part // parts_of_epoch
            expected, _ = augment(*plain, RECIPE.augmentation, seed=3, epoch=epoch, samples=places)
            assert not torch.equal(plain[0], expected)
            torch.testing.assert_close(images, expected, rtol=0, atol=1e-6)


def test_the_gradient_of_all_parameters_together_is_clipped(alone, together):
    for seen in (alone, *together[False]):
        for before, after in zip(seen.unclipped, seen.clipped, strict=True):
            assert before.norm() > 2 * CLIP_NORM
            assert after.norm() == pytest.approx(CLIP_NORM, rel=1e-3)
            torch.testing.assert_close(after, before * CLIP_NORM / before.norm())


def test_two_processes_follow_the_gradients_of_one(together, slices):
    whole = watch(*slices, plain=True)
    for seen in together[True]:
        for expected, gradient in zip(whole.unclipped, seen.unclipped, strict=True):
            assert expected.norm() > 2 * CLIP_NORM
            assert (gradient - expected).norm() < 1e-2 * expected.norm()


def test_all_slices_enter_the_running_statistics(together):
    first, second = together[False]
    name = next(name for name in first.statistics if name.endswith("running_mean"))
    running = torch.zeros(len(first.means[0]))
    for one, other in zip(first.means, second.means, strict=True):
        running = 0.9 * running + 0.1 * (one + other) / 2  # PyTorch's momentum of 0.1
        assert (one - other).norm() > 1e-3
    for seen in (first, second):
        torch.testing.assert_close(seen.statistics[name], running)
    for name, values in first.statistics.items():
        assert torch.equal(values, second.statistics[name]), name


class Gradients(LoopListener):
    """Makes one gradient infinite from a step on, though the loss is finite."""

    def __init__(self, network, steps):
        self.done, self.reports = 0, []
        self._steps = steps
        next(network.decoder.parameters()).register_hook(self._poisoned)

    def _poisoned(self, gradient):
        return gradient * math.inf if self.done in self._steps else gradient

    def step(self, report):
        self.done = report.step
        self.reports.append(report)


def weights(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (2, r"the gradient is not finite in epoch 1\. Lower optimizer\.learning_rate"),
        (8, r"the gradient is not finite in epoch 2; the best checkpoint so far is kept\. Lower"),
    ],
)
def test_a_gradient_that_is_not_finite_changes_nothing(slices, tmp_path, step, message):
    network = WmhNetwork(RECIPE)
    poison = Gradients(network, {step})
    loop = TrainingLoop(network, RECIPE, *slices, open_accelerator(RECIPE))
    keeper = StateKeeper(tmp_path, every_s=0)
    with pytest.raises(RecipeError, match=message):
        loop.run(keeper.load("", 1), keeper, poison)
    assert poison.done == step  # steps that went well
    saved = keeper.load("", 1).network
    for name, tensor in weights(network).items():
        assert torch.isfinite(tensor).all(), name
        assert torch.equal(tensor, saved[name]), name  # as after the last good step


def with_scaler():
    """An accelerator that scales gradients as fp16 has it, which only a GPU can train in."""
    accelerator = open_accelerator(RECIPE)
    accelerator.scaler = GradScaler("cpu", init_scale=2.0**16)
    return accelerator


def test_a_step_whose_gradient_does_not_fit_is_skipped_and_the_scale_halved(slices, tmp_path):
    state, keeper = TrainingState("", 1), StateKeeper(tmp_path, every_s=1e9)
    network = WmhNetwork(RECIPE)
    poison = Gradients(network, {0, 1})
    loop = TrainingLoop(network, RECIPE, *slices, with_scaler())
    loop.run(state, keeper, poison)
    assert poison.done == STEPS
    assert state.scaler["scale"] == 2.0**14  # halved twice


def test_a_gradient_that_never_fits_ends_the_training(slices, tmp_path, monkeypatch):
    monkeypatch.setattr("wmh_train.loop.loop._SKIPPED_IN_A_ROW", 4)
    network = WmhNetwork(RECIPE)
    poison = Gradients(network, {1, 2, *range(4, 12)})
    before = weights(network)
    loop = TrainingLoop(network, RECIPE, *slices, with_scaler())
    with pytest.raises(RecipeError, match="the gradient is not finite in epoch 2"):
        loop.run(TrainingState("", 1), StateKeeper(tmp_path, every_s=1e9), poison)
    assert poison.done == 7  # of steps 1 and 2 skipped, 3 well, 4 to 7 skipped
    moved = [not torch.equal(p, before[name]) for name, p in weights(network).items()]
    assert any(moved)
    assert all(torch.isfinite(p).all() for p in weights(network).values())
