"""A training that is killed and started again ends as if it had never been killed."""

import os
import subprocess
import sys

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import REPOSITORY
from tests.toys import write_annotated_heads, write_small_base, write_toml
from tests.train.loop.fit_worker import recipe_in
from wmh_runtime.errors import RecipeError
from wmh_runtime.files.temporary import temporary_prefix
from wmh_train.checkpoint import load_facts
from wmh_train.loop.curves import Monitor
from wmh_train.loop.loop import StepReport
from wmh_train.loop.resume import StateKeeper, TrainingState, sha256_of_tensors
from wmh_train.loop.schedule import learning_rate

NEVER = "never"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",  # threads that wait leave the processor to others
    "ACCELERATE_USE_CPU": "true",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    heads = write_annotated_heads(folder / "heads", 8)
    return heads, write_small_base(folder / "base.pth"), folder / "cache"


def launch(processes, *module_and_arguments):
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    return subprocess.run(
        [
            *(sys.executable, *(launcher if processes > 1 else [])),
            *("-m", *map(str, module_and_arguments)),
        ],
        cwd=REPOSITORY,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


def train(inputs, out, moment, processes, precision, threads):
    heads, base, cache = inputs
    arguments = (heads, base, out, cache, moment, precision, threads)
    ended = launch(processes, "tests.train.loop.fit_worker", *arguments)
    assert (ended.returncode == 0) == (moment == NEVER), ended.stderr


def train_by_command(inputs, recipe, out, processes):
    """Train as a user does; return what is said."""
    heads, base, cache = inputs
    toml = write_toml(out.with_suffix(".toml"), recipe.model_dump(mode="json"))
    options = ("--data", heads, "--out", out, "--base", base, "--cache", cache)
    ended = launch(processes, "wmh_train", "fit", toml, *options)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


def result(out):
    facts = load_facts(out)
    assert facts.finished
    assert not (out / "resume.pt").exists()
    return (
        facts.provenance.details["last_float32_sha256"],
        facts.weights_sha256,
        facts.validation,
        facts.epoch,
    )


def assert_ended_alike(killed, whole, recipe):
    assert result(killed) == result(whole)
    assert not list(killed.glob(".wmh-partial-*"))
    rows = [(out / "history.csv").read_text() for out in (killed, whole)]
    # Two processes do not step the schedule twice: the rates are those of 6 steps an epoch.
    rates = [line.split(",")[1] for line in rows[0].splitlines()[1:]]
    assert rates == [f"{learning_rate(6 * epoch + 5, 6, recipe):.3g}" for epoch in range(3)]
    without_minutes = [[line.rpartition(",")[0] for line in text.splitlines()] for text in rows]
    assert without_minutes[0] == without_minutes[1]


# 6 training heads of 6 slices: 12 with lesion, half of the 24 without; in fours, 6 steps an epoch.


def test_killed_at_any_moment_it_ends_in_the_same_weights(inputs, tmp_path):
    how = (1, "bf16", 2)  # as users train: more than one thread, less than float32
    train(inputs, tmp_path / "whole", NEVER, *how)
    # While the state or the checkpoint is written, both in the first epoch, and at the last step.
    for moment in ("saving", "publishing", "18", NEVER):
        train(inputs, tmp_path / "killed", moment, *how)
        left = list((tmp_path / "killed").glob(".wmh-partial-*.pt"))
        assert len(left) == (moment == "saving")
    assert_ended_alike(tmp_path / "killed", tmp_path / "whole", recipe_in("bf16"))


def test_killed_processes_end_in_the_weights_of_the_command(inputs, tmp_path):
    said = train_by_command(inputs, recipe_in("no"), tmp_path / "whole", 2)
    assert said.count("begins at step 0 on 2 × cpu, precision no") == 1  # not by every process
    # Asked to end in the first epoch, one of them, and killed in the second.
    train(inputs, tmp_path / "killed", "asked3", 2, "no", 1)
    state = torch.load(tmp_path / "killed" / "resume.pt", weights_only=True)
    assert (state["epoch"], state["step"]) == (0, 4)  # heard in the next step, by both
    for moment in ("8", NEVER):
        train(inputs, tmp_path / "killed", moment, 2, "no", 1)
    assert_ended_alike(tmp_path / "killed", tmp_path / "whole", recipe_in("no"))


def test_the_state_of_another_training_is_not_gone_on_from(tmp_path):
    keeper = StateKeeper(tmp_path, every_s=0)
    keeper.save(TrainingState("one", processes=1, epoch=3, network={"w": torch.ones(2)}))
    assert keeper.load("one", processes=1).epoch == 3
    with pytest.raises(RecipeError, match="unfinished training of another recipe"):
        keeper.load("two", processes=1)


def test_a_damaged_state_is_told(tmp_path):
    (tmp_path / "resume.pt").write_bytes(b"half")
    with pytest.raises(RecipeError, match=r"resume\.pt: cannot be read .* Remove it to begin anew"):
        StateKeeper(tmp_path, every_s=0).load("one", processes=1)


def test_runs_that_differ_are_told_even_when_the_last_is_like_the_first(tmp_path, monkeypatch):
    keeper = StateKeeper(tmp_path, every_s=0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    state = keeper.load("one", processes=2)
    assert state.differences() == []
    keeper.save(state)
    assert keeper.load("one", processes=2).differences() == []
    state = keeper.load("one", processes=1)
    assert state.differences() == ["processes (2, 1)"]
    keeper.save(state)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "__version__", "3.0")
    pytorch = f"PyTorch ({state.ran_with['PyTorch'][0]}, 3.0)"
    differences = keeper.load("one", processes=2).differences()
    assert differences == ["processes (2, 1)", "threads (8, 4)", pytorch]


def test_what_a_killed_process_left_half_saved_is_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for process_id in (ended.pid, os.getpid()):
        (tmp_path / f"{temporary_prefix()}{process_id}-00ff.pt").touch()
    StateKeeper(tmp_path, every_s=0).load("one", processes=1)
    assert [path.name for path in tmp_path.iterdir()] == [
        f"{temporary_prefix()}{os.getpid()}-00ff.pt"
    ]


def test_a_training_begun_anew_forgets_the_curve_before(tmp_path):
    state = TrainingState("one", processes=1)
    for steps, loss in ((3, 0.5), (2, 0.25)):  # killed after so many, before the first save
        with Monitor(tmp_path, 0, state, enabled=True) as monitor:
            for step in range(steps):
                monitor.step(StepReport(step + 1, 9, {"total": loss}, 1e-3))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/total")] == [(1, 0.25), (2, 0.25)]


def test_the_hash_of_weights_depends_on_names_and_every_value():
    weights = {"a": torch.zeros(2), "b": torch.ones(2)}
    changed = {"a": torch.tensor([0.0, 1e-30]), "b": torch.ones(2)}
    swapped = {"b": torch.zeros(2), "a": torch.ones(2)}
    hashes = {sha256_of_tensors(one) for one in (weights, changed, swapped)}
    assert len(hashes) == 3
    assert sha256_of_tensors(dict(reversed(weights.items()))) in hashes
