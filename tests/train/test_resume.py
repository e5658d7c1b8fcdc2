"""A training that is killed and started again ends as if it had never been killed."""

import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.toys import write_annotated_heads, write_small_base
from tests.train.fit_worker import RECIPE
from wmh_runtime.errors import RecipeError
from wmh_train.checkpoint import load_facts
from wmh_train.resume import StateKeeper, TrainingState, sha256_of_tensors
from wmh_train.schedule import learning_rate

NEVER = "never"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    heads = write_annotated_heads(folder / "heads", 8)
    return heads, write_small_base(folder / "base.pth"), folder / "cache"


def train(inputs, out, moment, processes):
    heads, base, cache = inputs
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command = [
        sys.executable,
        *(launch if processes > 1 else []),
        *("-m", "tests.train.fit_worker"),
        *map(str, (heads, base, out, cache, moment)),
    ]
    ended = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode == 0) == (moment == NEVER), ended.stderr[-2000:]


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


@pytest.mark.parametrize(
    ("processes", "moments"),
    [
        # 6 training heads of 6 slices: 12 with lesion, half of the 24 without; in fours, 6 steps
        # an epoch: within the first, while the state or the checkpoint is written, at the last.
        (1, ["4", "saving", "publishing", "18"]),
        (2, ["4", "publishing"]),
    ],
)
def test_killed_at_any_moment_it_ends_in_the_same_weights(inputs, tmp_path, processes, moments):
    train(inputs, tmp_path / "whole", NEVER, processes)
    for moment in [*moments, NEVER]:
        train(inputs, tmp_path / "killed", moment, processes)
    assert result(tmp_path / "killed") == result(tmp_path / "whole")
    rows = [(tmp_path / run / "history.csv").read_text() for run in ("killed", "whole")]
    # Two processes do not step the schedule twice: the rates are those of 6 steps an epoch.
    rates = [line.split(",")[1] for line in rows[0].splitlines()[1:]]
    assert rates == [f"{learning_rate(6 * epoch + 5, 6, RECIPE):.3g}" for epoch in range(3)]
    without_minutes = [[line.rpartition(",")[0] for line in text.splitlines()] for text in rows]
    assert without_minutes[0] == without_minutes[1]


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


def test_the_hash_of_weights_depends_on_names_and_every_value():
    weights = {"a": torch.zeros(2), "b": torch.ones(2)}
    changed = {"a": torch.tensor([0.0, 1e-30]), "b": torch.ones(2)}
    swapped = {"b": torch.zeros(2), "a": torch.ones(2)}
    hashes = {sha256_of_tensors(one) for one in (weights, changed, swapped)}
    assert len(hashes) == 3
    assert sha256_of_tensors(dict(reversed(weights.items()))) in hashes
