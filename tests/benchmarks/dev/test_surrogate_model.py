from pathlib import Path

import pytest

from benchmarks.dev import surrogate_model
from benchmarks.dev.surrogate_model import Heads, StandInListener, make_stand_in
from tests.toys import lora_recipe
from wmh_train.checkpoint import load_facts, load_network

HEADS = Heads(training=2, validation=1, unseen=1)
RECIPE = lora_recipe(batch_size=8, slices_at_once=8)


class Stages(StandInListener):
    def __init__(self):
        self.totals, self.done, self._name = {}, {}, ""

    def stage(self, name, total):
        self._name = name
        self.totals[name], self.done[name] = total, 0

    def advance(self):
        self.done[self._name] += 1


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("stand-in")
    stages = Stages()
    return out, make_stand_in(out, stages, RECIPE, HEADS), stages


def test_it_leaves_a_calibrated_checkpoint_on_its_base(made):
    out, result, stages = made
    facts = load_facts(out / "checkpoint")
    assert facts == result.facts
    assert facts.calibration is not None
    assert stages.done == stages.totals
    assert len(result.unseen_dice) == 1
    assert not set(result.unseen_dice) & {*facts.split.training, *facts.split.validation}
    network = load_network(out / "checkpoint", facts, out / "base.pth")
    second = [p for name, p in network.named_parameters() if ".lora_B." in name]
    assert all(parameter.any() for parameter in second)  # merging them matters


def test_features_are_kept_for_the_same_and_for_no_other(made, monkeypatch):
    out, result, stages = made
    again = Stages()
    assert make_stand_in(out, again, RECIPE, HEADS) == result
    assert (again.done["encoding"], stages.done["encoding"] > 0) == (0, True)
    monkeypatch.setattr(surrogate_model, "_ADAPTER_SPREAD", 0.5)
    other = Stages()
    make_stand_in(out, other, RECIPE, HEADS)
    assert other.done["encoding"] == other.totals["encoding"]
    assert len(list(Path(out / "features").glob("*.npy"))) == 2
