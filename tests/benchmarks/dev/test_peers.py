"""Networks of the shapes of other programs: their size as published, and the measurement."""

from functools import partial

import pytest
import torch
from torch import nn

from benchmarks.dev.peers import measure
from benchmarks.dev.peers.measure import measure_peers
from benchmarks.dev.peers.networks import LstAiUNet, SynthSegUNet, nnunet
from benchmarks.dev.peers.programs import Pass, Program, programs
from benchmarks.dev.timed_run import RunOptions
from tests.toys import write_head

HALVING = (2, 2, 2)
MNI = (193, 229, 193)


@pytest.mark.parametrize(
    ("build", "millions"),
    [
        # The sizes of the published weights in float32, divided by four bytes.
        (partial(nnunet, [*[HALVING] * 4, (2, 2, 1)], channels=1, outputs=20), 30.8),
        (SynthSegUNet, 65.9),
        # Added up by hand from the widths.
        (partial(LstAiUNet, 28, 168), 14.4),
        (partial(LstAiUNet, 24, 144), 10.5),
        (partial(LstAiUNet, 32, 160), 17.5),
    ],
)
def test_networks_have_as_many_parameters_as_their_shapes_say(build, millions):
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in build().parameters())
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize("program", programs((192, 224, 192)), ids=lambda one: one.name)
def test_each_network_takes_its_input(program):
    for one in program.passes:
        with torch.device("meta"):
            output = one.build()(torch.zeros(one.input_shape))
        assert output.shape[2:] == one.input_shape[2:]


def test_windows_are_those_that_mindglide_states_for_mni_space():
    passes = {one.name: [each.count for each in one.passes] for one in programs(MNI)}
    assert passes["MindGlide"] == [54]
    # Windows of half overlap along x, y, z: 193 / 128 → 3, 229 / 160 → 2, 193 / 112 → 3.
    assert passes["MARS-WMH (nnU-Net), one fold, not mirrored"] == [18]
    assert passes["MARS-WMH (nnU-Net), five folds, mirrored"] == [18 * 8 * 5]
    assert passes["LST-AI, three networks"] == [1, 1, 1]


def test_networks_and_whole_runs_are_timed_in_turns(tmp_path, monkeypatch):
    scan = write_head(tmp_path / "a_FLAIR.nii.gz", lesions=1)
    one = Program("toy", [Pass(partial(nn.Conv3d, 1, 1, 3), (1, 1, 16, 16, 16), 10)], "reading")
    sizes = []
    monkeypatch.setattr(measure, "programs", lambda size: sizes.append(size) or [one])
    steps = []
    run = RunOptions("demo", "onnxruntime", "fp32", "none")
    measured = measure_peers(scan, 2, steps.append, [run])
    assert steps == [f"turn {turn}: {name}" for turn in (1, 2) for name in ("toy", run.name)]
    toy, own = measured.programs
    assert (toy.passes, toy.left_out) == (10, "reading")
    assert own.passes is None
    for speed in (toy, own):
        assert len(speed.seconds_by_turn) == 2
        assert min(speed.seconds_by_turn) <= speed.seconds <= max(speed.seconds_by_turn)
        assert 50 < speed.peak_memory_mb < 3000
