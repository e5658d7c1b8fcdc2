"""Training on a GPU. Run on a machine with a GPU, by benchmarks/gpu_suite.sh."""

import pytest
import torch
from accelerate.state import AcceleratorState

from tests.toys import write_annotated_heads
from tests.training_toys import fit_data, small_recipe
from wmh_train.checkpoint import load_metadata
from wmh_train.fit.fit import FitListener, fit

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="PyTorch finds no GPU; docs/gpu.md lists what has run"
)


class Losses(FitListener):
    def __init__(self):
        self.totals, self.lines = [], []

    def step(self, report):
        self.totals.append(report.losses["total"])

    def info(self, line):
        self.lines.append(line)


def train(heads, out, precision):
    AcceleratorState._reset_state(reset_partial_state=True)
    optimizer = small_recipe().optimizer.model_copy(update={"mixed_precision": precision})
    recipe = small_recipe(optimizer=optimizer)
    listener = Losses()
    fit(recipe, fit_data(heads, recipe), out, None, listener)
    return listener


def test_the_first_steps_equal_those_on_the_cpu(tmp_path, monkeypatch):
    heads = write_annotated_heads(tmp_path / "heads", 8)
    cpu = train(heads, tmp_path / "cpu", "no")
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    gpu = train(heads, tmp_path / "gpu", "no")
    assert "cuda" in gpu.lines[-1]
    assert gpu.totals[:3] == pytest.approx(cpu.totals[:3], rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains(tmp_path, monkeypatch, precision):
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    heads = write_annotated_heads(tmp_path / "heads", 8)
    listener = train(heads, tmp_path / "run", precision)
    assert listener.totals[-1] < listener.totals[0]
    assert load_metadata(tmp_path / "run").finished
