from pathlib import Path

import pytest

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from benchmarks.dev.surrogate import model as surrogate_model
from benchmarks.dev.surrogate.model import PhantomCounts, make_surrogate_model
from benchmarks.dev.surrogate.training import SurrogateListener
from tests.training_toys import lora_recipe
from wmh_train.checkpoint import load_metadata, load_network

COUNTS = PhantomCounts(training=2, validation=1, test=1)
RECIPE = lora_recipe(batch_size=8, micro_batch_size=8)


class StageCounter(SurrogateListener):
    def __init__(self):
        self.totals, self.done, self._name = {}, {}, ""

    def stage(self, name, total):
        self._name = name
        self.totals[name], self.done[name] = total, 0

    def advance(self):
        self.done[self._name] += 1


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("surrogate")
    stages = StageCounter()
    with coarse_phantoms():
        return out, make_surrogate_model(out, stages, RECIPE, COUNTS), stages


def test_the_result_is_a_calibrated_checkpoint(made):
    out, result, stages = made
    metadata = load_metadata(out / "checkpoint")
    assert metadata == result.metadata
    assert metadata.calibration is not None
    assert stages.done == stages.totals
    assert len(result.test_dice) == 1
    assert not set(result.test_dice) & {*metadata.split.training, *metadata.split.validation}
    network = load_network(out / "checkpoint", metadata, out / "pretrained.pth")
    adapters = [p for name, p in network.named_parameters() if ".lora_B." in name]
    assert all(parameter.any() for parameter in adapters)  # so merging them makes a difference


def test_features_are_reused_only_for_the_same_network(made, monkeypatch):
    out, result, stages = made
    again = StageCounter()
    assert make_surrogate_model(out, again, RECIPE, COUNTS) == result
    assert (again.done["encoding"], stages.done["encoding"] > 0) == (0, True)
    monkeypatch.setattr(surrogate_model, "_ADAPTER_STD", 0.5)
    other = StageCounter()
    make_surrogate_model(out, other, RECIPE, COUNTS)
    assert other.done["encoding"] == other.totals["encoding"]
    assert len(list(Path(out / "features").glob("*.npy"))) == 2
