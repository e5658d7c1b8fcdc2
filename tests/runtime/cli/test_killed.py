"""A run that is killed at any moment leaves nothing half, and ends as if nothing had happened."""

import gzip
import json
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from benchmarks.dev.clusters.same_results import content_of
from tests.toys import write_head
from wmh_runtime.files.temporary import is_temporary
from wmh_runtime.outputs.paths import VOLUMES_NAME

SCANS, KILLS = 30, 3
PROGRAM = "from wmh_runtime.cli.infer.main import main; main()"
IMPATIENT = f"from wmh_runtime.cohort import shutdown; shutdown._SAME_REQUEST_S = 0; {PROGRAM}"


@pytest.fixture
def command(tmp_path, toy_bundle):
    for number in range(SCANS):
        folder = tmp_path / "scans" / f"site-{number % 3}"
        write_head(folder / f"{number:02}.nii.gz", lesions=number % 4, seed=number)

    def start(out, program=PROGRAM):
        arguments = [tmp_path / "scans", out, "--bundle", toy_bundle, "--probability"]
        arguments += ["--backend", "onnxruntime"]
        return subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def require_whole(out):
    """Every file under a final name can be read to its end."""

    def final(pattern):
        return (path for path in out.rglob(pattern) if not is_temporary(path))

    for path in final("*.nii.gz"):
        gzip.decompress(path.read_bytes())
    for path in final("*.png"):
        Image.open(path).load()
    for path in final("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    for path in final("*_mask.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["volume_ml"] >= 0
        assert path.with_suffix(".nii.gz").exists()
    for path in final("*.csv"):
        assert path.read_bytes().endswith(b"\n")


def done_in(out):
    return len([path for path in out.rglob("*_mask.json") if not is_temporary(path)])


def test_killed_and_started_again_it_ends_in_the_same_bytes(tmp_path, command):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = command(whole)
    _, errors = undisturbed.communicate()
    assert undisturbed.returncode == 0, errors
    moments = random.Random(0)
    for kill in range(1, KILLS + 1):
        process = command(killed)
        while process.poll() is None and done_in(killed) < kill * SCANS // (KILLS + 2):
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.communicate()
        require_whole(killed)
    done = done_in(killed)
    assert 0 < done < SCANS
    last = command(killed)
    said, errors = last.communicate()
    assert last.returncode == 0, errors
    assert f"{SCANS} scans finished, {done} of them by earlier or other runs" in said
    assert content_of(killed) == content_of(whole)
    assert (killed / VOLUMES_NAME).read_bytes() == (whole / VOLUMES_NAME).read_bytes()
    assert not [path for path in killed.rglob("*") if is_temporary(path)]


@pytest.mark.exhaustive
def test_ctrl_c_twice_ends_at_once_and_leaves_nothing_half(tmp_path, command):
    out = tmp_path / "out"
    process = command(out, IMPATIENT)
    while process.poll() is None and not done_in(out):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert re.search(r"(finishing \d+ scans?|stopping); press Ctrl-C again", errors)
    assert "interrupted. Finished results are kept" in errors
    require_whole(out)
    assert 0 < done_in(out) < SCANS
    last = command(out)
    last.communicate()
    assert last.returncode == 0
    assert done_in(out) == SCANS
