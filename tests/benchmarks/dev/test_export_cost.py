"""The measurement of an export, on a network that takes seconds."""

from concurrent.futures import Future

import pytest

from benchmarks.dev import export_cost
from benchmarks.dev.export_cost import measure_export
from wmh_runtime.precision import WRITTEN_AS


class InThisProcess:
    """In place of a process of its own, which would make phantoms of all sites."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *arguments):
        done = Future()
        done.set_result(function(*arguments))
        return done


@pytest.fixture(scope="module")
def cost(checkpoint, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_cost, "ProcessPoolExecutor", InThisProcess)
        return measure_export(checkpoint, tmp_path_factory.mktemp("export") / "bundle", base=None)


def test_the_steps_are_the_whole(cost):
    assert sum(step.seconds for step in cost.steps) == pytest.approx(cost.seconds, abs=1)
    assert cost.steps[0].name == "loading the network"
    assert 0 < cost.int8_search_seconds < cost.seconds


def test_memory_and_sizes_are_those_of_a_process_and_a_bundle(cost):
    assert cost.peak_memory_mb > 200  # PyTorch alone takes some hundred
    assert cost.megabytes.keys() >= {"graphs/weights.fp32.bin", "reference_outputs.npz"}
    in_the_bundle = {name.split(".")[1] for name in cost.megabytes if name.endswith(".onnx")}
    refused = {reason.split(":")[0] for reason in cost.refused}
    assert in_the_bundle | refused == {"fp32", "fp16", "int8"}
    assert {WRITTEN_AS[parity.precision] for parity in cost.parity} == in_the_bundle
