"""Several runs on one folder: they share the scans, and end in the bytes of a single run."""

import json
import os
import random
import shutil
import subprocess
import time

import pytest

from tests.shared_work import (
    PROGRAM,
    SCANS,
    finish,
    make_work,
    options_of,
    require_same,
    start,
)
from tests.toys import write_head, write_toy_bundle
from wmh_runtime.claims.claims import Claims
from wmh_runtime.cli.infer import main as command
from wmh_runtime.cohort.sharing.status import read_status
from wmh_runtime.outputs.paths import CLAIMS_FOLDER, STATE_FOLDER

RUNS = 4
# As on another machine: nobody can see whether the process has ended.
FAR = (
    "import sys; machine = sys.argv.pop();"
    "from wmh_runtime.files import process; process._space = lambda: machine;"
    "from wmh_runtime.claims import claims; claims.STALE_S = 2; claims.BEAT_S = 0.2;"
    "claims.Claims.__init__.__kwdefaults__.update(stale_s=2, beat_s=0.2);"
)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return make_work(tmp_path_factory.mktemp("shared"))


def start_on(machine, work, out):
    return start(work, out, machine, program=FAR + PROGRAM)


def test_four_runs_share_the_scans_and_end_in_the_same_bytes(work, tmp_path):
    out = tmp_path / "out"
    ended = [finish(run) for run in [start(work, out) for _ in range(RUNS)]]
    assert [status for status, _, _ in ended] == [1] * RUNS  # each knows that one scan failed
    made = [said.count(" mL in ") for _, said, _ in ended]
    assert sum(made) == SCANS  # no scan was segmented twice
    assert min(made) > 0
    for _, said, errors in ended:
        assert f"{SCANS} scans finished" in said
        assert errors.count("broken.nii.gz") == 1
    require_same(out, work)


def test_runs_that_are_killed_are_replaced_by_the_others(work, tmp_path):
    out, moments = tmp_path / "out", random.Random(1)
    runs = [start(work, out) for _ in range(RUNS)]
    for _ in range(4):
        time.sleep(moments.uniform(0.3, 1.2))
        victim = moments.randrange(RUNS)
        runs[victim].kill()
        runs[victim].communicate()
        runs[victim] = start(work, out)
    assert [finish(run)[0] for run in runs] == [1] * RUNS
    require_same(out, work)


@pytest.mark.exhaustive
def test_a_run_on_another_machine_that_is_gone_is_replaced(work, tmp_path):
    out = tmp_path / "out"
    gone = start_on("machine-1", work, out)
    while gone.poll() is None and not list(out.glob(f"{CLAIMS_FOLDER}/*.json")):
        time.sleep(0.005)
    gone.kill()
    gone.communicate()
    status, said, _ = finish(start_on("machine-2", work, out))
    assert status == 1
    assert f"{SCANS} scans finished" in said
    if "that other runs work on" in said:
        assert "should it be gone, this run takes over in" in said
    require_same(out, work)


@pytest.mark.skipif(not shutil.which("bindfs"), reason="bindfs is not installed")
def test_two_machines_with_old_views_of_the_folder_as_of_nfs(work, tmp_path):
    """Each machine remembers names and attributes for a minute, as clients of NFS do."""
    backing = tmp_path / "server"
    backing.mkdir()
    mounts = [tmp_path / f"machine-{number}" for number in range(2)]
    options = "attr_timeout=60,entry_timeout=60,negative_timeout=60"
    try:
        for mount in mounts:
            mount.mkdir()
            made = subprocess.run(["bindfs", "-o", options, backing, mount], check=False)
            if made.returncode:
                pytest.skip("no file system can be mounted here")
        runs = [start_on(mount.name, work, mount / "out") for mount in mounts]
        ended = [finish(run) for run in runs]
    finally:
        for mount in mounts:
            subprocess.run(["umount", "-l", mount], check=False, stderr=subprocess.DEVNULL)
    assert [status for status, _, _ in ended] == [1, 1], ended
    assert sum(said.count(" mL in ") for _, said, _ in ended) == SCANS
    require_same(backing / "out", work)


def test_a_scan_that_another_run_has_is_waited_for(work, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with Claims(out / CLAIMS_FOLDER) as other:
        claim = other.try_claim("site-0/00_label-WMH_mask.nii.gz")
        run = start(work, out)
        while run.poll() is None and len(list(out.rglob("*_mask.json"))) < SCANS - 1:
            time.sleep(0.05)
        time.sleep(1.5)
        assert run.poll() is None
        other.release(claim)
        status, said, _ = finish(run)
    assert status == 1
    assert f"waiting for 1 scan that other runs work on, such as process {os.getpid()} on" in said
    require_same(out, work)


def test_tables_are_made_again_from_the_records_alone(work, tmp_path, run_command):
    out = tmp_path / "out"
    shutil.copytree(work / "alone", out)
    for name in ("volumes.csv", "volumes.json", "failures.csv", "failures.json", "report.html"):
        (out / name).unlink()
    status, said, _ = run_command(command.main, "collect", out)
    assert (status, f"{out / 'failures.csv'}" in said) == (0, True)
    require_same(out, work)


def test_the_status_counts_what_is_done_and_names_what_is_at_work(work, tmp_path, run_command):
    out = tmp_path / "out"
    shutil.copytree(work / "alone", out)
    status, said, _ = run_command(command.main, "status", out)
    assert (status, said) == (0, f"{SCANS} of {SCANS + 1} scans finished, 1 failed\n")
    with Claims(out / CLAIMS_FOLDER) as other:
        other.try_claim("site-0/00_label-WMH_mask.nii.gz")
        _, said, _ = run_command(command.main, "status", out)
    assert f"at work on site-0/00_label-WMH_mask.nii.gz, by process {os.getpid()} on " in said
    status, said, _ = run_command(command.main, "status", out, "--watch")  # nothing to wait for
    assert (status, f"{SCANS} of {SCANS + 1}" in said) == (0, True)


@pytest.mark.parametrize("name", ["collect", "status"])
def test_a_folder_that_is_not_there_is_one_line(tmp_path, run_command, name):
    status, _, errors = run_command(command.main, name, tmp_path / "missing")
    assert (status, "is no folder. Give the folder of results" in errors) == (2, True)


def test_a_failure_is_forgotten_when_the_scan_is_segmented_or_gone(tmp_path, run_command):
    from wmh_runtime.cli.infer.main import main

    bundle, scans, out = write_toy_bundle(tmp_path / "bundle"), tmp_path / "scans", tmp_path / "out"
    write_head(scans / "a.nii.gz")
    for name in ("b", "c"):
        (scans / f"{name}.nii.gz").write_bytes(b"no image")
    arguments = (scans, out, "--bundle", bundle, "--backend", "onnxruntime")

    def failures():
        assert run_command(main, *arguments)[0] in (0, 1)
        table = out / "failures.csv"
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        return [line.partition(",")[0] for line in lines]

    assert failures() == ["b.nii.gz", "c.nii.gz"]
    write_head(scans / "b.nii.gz")
    assert failures() == ["c.nii.gz"]
    (scans / "c.nii.gz").unlink()
    assert failures() == []
    records = out / STATE_FOLDER / "failures"
    assert [json.loads(path.read_text()) for path in records.iterdir()] == []


def test_a_run_that_waits_for_another_one_to_begin_says_so(work, tmp_path):
    out = tmp_path / "out"
    with Claims(out / CLAIMS_FOLDER) as other:
        out.mkdir()
        claim = other.try_claim("files of the folder")
        run = start(work, out)
        said = ""
        while "which begins to work on the same folder" not in said:
            said += run.stdout.readline()
        other.release(claim)
        assert finish(run)[0] == 1
    assert f"waiting for process {os.getpid()} on" in said


def test_before_a_run_begins_the_status_is_not_complete(tmp_path, run_command):
    (tmp_path / ".wmh" / "slurm").mkdir(parents=True)  # as after submitting
    status, said, _ = run_command(command.main, "status", tmp_path)
    assert (status, said.strip()) == (0, "no run has begun on this folder yet")
    with Claims(tmp_path / CLAIMS_FOLDER) as claims:
        assert not read_status(tmp_path, claims).is_complete


def test_results_of_removed_scans_and_missing_ones_are_named(work, tmp_path, run_command):
    scans, out = tmp_path / "scans", tmp_path / "out"
    for name in ("a", "b"):
        write_head(scans / f"{name}.nii.gz", lesions=1, seed=1 if name == "a" else 2)
    run_command(command.main, scans, out, *options_of(work))
    (scans / "a.nii.gz").unlink()
    _, _, errors = run_command(command.main, scans, out, *options_of(work))
    errors = " ".join(errors.split())
    assert "results of scans that are not in this input folder (1, such as a_label-WMH" in errors
    for path in out.glob("*_label-*"):
        path.unlink()
    _, _, errors = run_command(command.main, "collect", out)
    assert "1 scan of 1 not finished: not in the tables" in " ".join(errors.split())


def test_an_address_with_one_slash_is_no_folder(work, tmp_path, run_command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = (work / "scans", "s3:/bucket/results", *options_of(work))
    status, _, errors = run_command(command.main, *arguments)
    assert status == 2
    assert "Write two, as in s3://bucket/folder." in " ".join(errors.split())
    assert list(tmp_path.iterdir()) == []
