"""The commands of docs/tutorial.md run as printed, and print and make what the page says."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
# In place of wmh-phantom: the same heads with large voxels, which take an eighth of the time.
COARSE_PHANTOM = f"""#!{sys.executable}
from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from wmh_runtime.cli.phantom import main
with coarse_phantoms():
    main()
"""
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```", re.M | re.S)

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def joined(*paths):
    return os.pathsep.join(str(path) for path in paths if path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Run all commands of the page in one folder."""
    folder, programs = tmp_path_factory.mktemp("tutorial"), tmp_path_factory.mktemp("programs")
    (programs / "wmh-phantom").write_text(COARSE_PHANTOM)
    (programs / "wmh-phantom").chmod(0o755)
    environment = os.environ | {
        "PATH": joined(programs, Path(sys.executable).parent, os.environ["PATH"]),
        "PYTHONPATH": joined(REPOSITORY, os.environ.get("PYTHONPATH", "")),
    }
    printed = ""
    for kind, text in BLOCK.findall(PAGE):
        if kind == "text":  # the page says that the last command prints these lines
            for line in text.splitlines():
                assert line in printed
            continue
        done = subprocess.run(
            ["bash", "-euc", text], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        printed = done.stdout
    return folder


def test_every_file_that_the_page_names_is_there(folder):
    named = re.findall(r"`((?:scans|results|report)/[^`*]*)`", PAGE)
    assert len(named) >= 8
    for name in named:
        assert (folder / name).exists(), name
    assert (folder / "scans" / "sub-7001_FLAIR.nii.gz").exists()


def test_the_last_head_has_the_larger_load(folder):
    """wmh-phantom spreads the loads from 1 to 40 mL."""
    with (folder / "results" / "volumes.csv").open(encoding="utf-8") as table:
        volumes_ml = {row["scan"]: float(row["volume_ml"]) for row in csv.DictReader(table)}
    assert 0 < volumes_ml["sub-7000_FLAIR.nii.gz"] < 10 < volumes_ml["sub-7001_FLAIR.nii.gz"]
