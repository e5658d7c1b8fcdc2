"""A training that is killed and resumed has the same result as an uninterrupted one."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import REPOSITORY
from tests.toys import write_annotated_heads
from tests.train.loop.fit_worker import recipe_in
from tests.training_toys import write_small_pretrained, write_toml
from wmh_runtime.errors import RecipeError
from wmh_runtime.files.process import this_process
from wmh_runtime.files.temporary import TEMPORARY_PREFIX
from wmh_train.checkpoint import load_metadata
from wmh_train.fit.history import HistoryWriter
from wmh_train.loop.resume import ResumeFile, TrainingState, sha256_of_tensors
from wmh_train.loop.schedule import learning_rate
from wmh_train.loop.training_loop import StepReport

WORKER = "tests.train.loop.fit_worker"
NEVER = "never"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",  # waiting threads do not use the CPU
    "ACCELERATE_USE_CPU": "true",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    heads = write_annotated_heads(folder / "heads", 8)
    return heads, write_small_pretrained(folder / "pretrained.pth"), folder / "cache"


@pytest.fixture(scope="module")
def train(inputs):
    """A function that trains, in one process on two threads in bfloat16, or in two processes."""
    heads, pretrained, cache = inputs
    worker = subprocess.Popen(
        [sys.executable, "-m", WORKER],
        cwd=REPOSITORY,
        env=os.environ | ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def train(out, moment, processes=1):
        precision, threads = {1: ("bf16", 2), 2: ("no", 1)}[processes]
        arguments = map(str, (heads, pretrained, out, cache, moment, precision, threads))
        worker.stdin.write(json.dumps([processes, *arguments]) + "\n")
        worker.stdin.flush()
        expected = {NEVER: 0, "stop3": 1}.get(moment, -signal.SIGKILL)
        assert int(worker.stdout.readline()) == expected

    with worker:  # closes its input in the end, and waits for it
        yield train


def train_by_command(inputs, recipe, out):
    """Train with the command line in two processes; return its output."""
    heads, pretrained, cache = inputs
    toml = write_toml(out.with_suffix(".toml"), recipe.model_dump(mode="json"))
    options = ("--data", heads, "--out", out, "--pretrained", pretrained, "--cache", cache)
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", 2, "-m")
    ended = subprocess.run(
        [sys.executable, *map(str, (*launcher, "wmh_train", "fit", toml, *options))],
        cwd=REPOSITORY,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


def result(out):
    metadata = load_metadata(out)
    assert metadata.finished
    assert not (out / "resume.pt").exists()
    return (
        metadata.provenance.details["last_float32_sha256"],
        metadata.weights_sha256,
        metadata.validation,
        metadata.epoch,
    )


def assert_equal_results(killed, uninterrupted, recipe):
    assert result(killed) == result(uninterrupted)
    assert not list(killed.glob(".wmh-partial-*"))
    rows = [(out / "history.csv").read_text() for out in (killed, uninterrupted)]
    # Two processes must not advance the schedule twice: an epoch has 6 steps.
    rates = [line.split(",")[1] for line in rows[0].splitlines()[1:]]
    assert rates == [f"{learning_rate(6 * epoch + 5, 6, recipe):.3g}" for epoch in range(3)]
    without_minutes = [[line.rpartition(",")[0] for line in text.splitlines()] for text in rows]
    assert without_minutes[0] == without_minutes[1]


# 6 training heads with 6 slices: 12 with a lesion, and half of the 24 others. In batches of 4
# slices, this is 6 steps per epoch.


@pytest.mark.exhaustive
def test_a_training_killed_at_any_moment_ends_with_the_same_weights(train, tmp_path):
    train(tmp_path / "uninterrupted", NEVER)
    # While the state or the checkpoint is written in the first epoch, and at the last step.
    for moment in ("saving", "writing", "18", NEVER):
        train(tmp_path / "killed", moment)
        left = list((tmp_path / "killed").glob(".wmh-partial-*.pt"))
        assert len(left) == (moment == "saving")
    assert_equal_results(tmp_path / "killed", tmp_path / "uninterrupted", recipe_in("bf16"))


@pytest.mark.exhaustive
def test_two_killed_processes_end_with_the_weights_of_an_uninterrupted_command(
    inputs, train, tmp_path
):
    output = train_by_command(inputs, recipe_in("no"), tmp_path / "uninterrupted")
    assert (
        output.count("starting at step 0 on 2 × cpu, precision no") == 1
    )  # only the main process prints
    # One process gets a signal in the first epoch, and both are killed in the second.
    train(tmp_path / "killed", "stop3", processes=2)
    state = torch.load(tmp_path / "killed" / "resume.pt", weights_only=True)
    # Both stop together, after this step or the next one: the signal may come between two.
    assert (state["epoch"], state["step"]) in ((0, 3), (0, 4))
    for moment in ("8", NEVER):
        train(tmp_path / "killed", moment, processes=2)
    assert_equal_results(tmp_path / "killed", tmp_path / "uninterrupted", recipe_in("no"))


def test_the_state_of_another_training_is_refused(tmp_path):
    resume_file = ResumeFile(tmp_path, every_s=0)
    resume_file.save(TrainingState("one", processes=1, epoch=3, network={"w": torch.ones(2)}))
    assert resume_file.load("one", processes=1).epoch == 3
    with pytest.raises(RecipeError, match="unfinished training with another recipe"):
        resume_file.load("two", processes=1)


def test_a_damaged_state_is_refused(tmp_path):
    (tmp_path / "resume.pt").write_bytes(b"half")
    with pytest.raises(
        RecipeError, match=r"resume\.pt: cannot be read .* Remove it to start again"
    ):
        ResumeFile(tmp_path, every_s=0).load("one", processes=1)


def test_differences_between_all_runs_are_reported(tmp_path, monkeypatch):
    resume_file = ResumeFile(tmp_path, every_s=0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    state = resume_file.load("one", processes=2)
    assert state.differences() == []
    resume_file.save(state)
    assert resume_file.load("one", processes=2).differences() == []
    state = resume_file.load("one", processes=1)
    assert state.differences() == ["processes (2, 1)"]
    resume_file.save(state)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch, "__version__", "3.0")
    pytorch = f"PyTorch ({state.ran_with['PyTorch'][0]}, 3.0)"
    differences = resume_file.load("one", processes=2).differences()
    assert differences == ["processes (2, 1)", "threads (8, 4)", pytorch]


def test_temporary_files_of_killed_processes_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own = this_process()
    for process in (own._replace(number=ended.pid), own):
        (tmp_path / f"{TEMPORARY_PREFIX}{process}-00ff.pt").touch()
    ResumeFile(tmp_path, every_s=0).load("one", processes=1)
    assert [path.name for path in tmp_path.iterdir()] == [f"{TEMPORARY_PREFIX}{own}-00ff.pt"]


def test_a_training_started_again_drops_earlier_tensorboard_events(tmp_path):
    state = TrainingState("one", processes=1)
    for steps, loss in (
        (3, 0.5),
        (2, 0.25),
    ):  # killed after this number of steps, before the first save
        with HistoryWriter(tmp_path, 0, state, enabled=True) as history:
            for step in range(steps):
                history.step(StepReport(step + 1, 9, {"total": loss}, 1e-3))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/total")] == [(1, 0.25), (2, 0.25)]


def test_the_hash_of_weights_depends_on_all_names_and_values():
    weights = {"a": torch.zeros(2), "b": torch.ones(2)}
    changed = {"a": torch.tensor([0.0, 1e-30]), "b": torch.ones(2)}
    swapped = {"b": torch.zeros(2), "a": torch.ones(2)}
    hashes = {sha256_of_tensors(one) for one in (weights, changed, swapped)}
    assert len(hashes) == 3
    assert sha256_of_tensors(dict(reversed(weights.items()))) in hashes
