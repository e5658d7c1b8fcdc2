"""A job array on a real Slurm of one node: whatever stops its tasks, the results are whole."""

import random
import re
import sys
import time

import pytest

from benchmarks.dev.clusters.slurm_cluster import ask_slurm, slurm_cluster, tasks_of, why_no_slurm
from tests.processes import wait_until
from tests.shared_work import SCANS, make_work, options_of, require_same
from wmh_runtime.cli.infer.main import main

pytest.importorskip("submitit")
pytestmark = pytest.mark.skipif(bool(why_no_slurm()), reason=why_no_slurm() or "Slurm is here")

TASKS = 4


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm_cluster(tmp_path_factory.mktemp("slurm") / "cluster"):
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return make_work(tmp_path_factory.mktemp("work"))


@pytest.fixture
def submit(cluster, work, tmp_path, run_command):
    def start(*more):
        resources = ("--tasks", TASKS, "--cpus", 1, "--memory-gb", 1, *more)
        arguments = (work / "scans", tmp_path / "out", *resources, "--", *options_of(work))
        status, said, errors = run_command(main, "submit", *arguments)
        assert status == 0, errors
        return re.match(r"submitted job (\d+): 4 tasks", said)[1]

    return start


def wait_for(job):
    wait_until(lambda: not tasks_of(job), seconds=100)


def log_of(out):
    return "".join(path.read_text() for path in (out / ".wmh" / "slurm").glob("*.out"))


def test_a_job_array_ends_in_the_bytes_of_a_single_run(submit, work, tmp_path, run_command):
    wait_for(submit())
    out = tmp_path / "out"
    assert len(re.findall(r"to segment, shard [1-4]/4 of 25", log_of(out))) == TASKS
    require_same(out, work)
    assert f"{SCANS} of {SCANS + 1} scans finished, 1 failed" in run_command(main, "status", out)[1]


@pytest.mark.exhaustive
def test_a_task_that_comes_near_its_time_limit_finishes_its_scans_and_continues(
    submit, work, tmp_path
):
    out = tmp_path / "out"
    job = submit()
    wait_until(lambda: list(out.rglob("*_mask.json")))
    for task in range(TASKS):
        ask_slurm("scancel", "--signal=USR2", f"{job}_{task}")  # as Slurm does before the limit
    wait_for(job)
    assert log_of(out).count("Requeued job") >= 1
    require_same(out, work)


@pytest.mark.exhaustive
def test_tasks_that_are_requeued_and_killed_at_random_lose_nothing(submit, work, tmp_path):
    out, moments, jobs = tmp_path / "out", random.Random(3), []
    for _ in range(3):
        jobs.append(submit())
        for _ in range(3):
            time.sleep(moments.uniform(0.5, 2.0))
            task = f"{jobs[-1]}_{moments.randrange(TASKS)}"
            command = moments.choice([("scontrol", "requeue"), ("scancel", "--signal=KILL")])
            ask_slurm(*command, task)
    for job in jobs:
        wait_for(job)
    wait_for(submit())  # as users are told to do if tasks were lost
    require_same(out, work)


def test_what_slurm_refuses_is_one_line(cluster, work, tmp_path, run_command):
    arguments = (work / "scans", tmp_path / "out", "--partition", "none", "--", *options_of(work))
    status, _, errors = run_command(main, "submit", *arguments)
    assert (status, "Slurm refuses the job" in errors) == (2, True), errors


def test_a_task_ends_with_the_exit_status_and_the_message_of_its_run(tmp_path, capfd):
    from wmh_runtime.cluster.slurm import ShardTask

    with pytest.raises(SystemExit) as ended:
        ShardTask([str(tmp_path / "no scans"), str(tmp_path / "out")], finish_s=1)()
    assert ended.value.code == 2
    errors = capfd.readouterr().err
    assert "no scans" in errors
    assert "Traceback" not in errors


def test_a_task_whose_run_was_killed_says_so(monkeypatch, capfd):
    from wmh_runtime.cluster import slurm

    killed = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    monkeypatch.setattr(slurm, "infer_command", lambda _: killed)
    with pytest.raises(SystemExit) as ended:
        slurm.ShardTask([], finish_s=1)()
    assert ended.value.code == 128 + 9
    assert "killed by signal 9" in capfd.readouterr().err


@pytest.mark.parametrize("option", ["--shard", "--overwrite", "--dry-run", "--ray"])
def test_options_that_each_task_gets_are_refused(cluster, work, tmp_path, run_command, option):
    arguments = (work / "scans", tmp_path / "out", "--", *options_of(work), option)
    status, _, errors = run_command(main, "submit", *arguments)
    assert (status, f"{option}: is given after the two dashes" in errors) == (2, True), errors
