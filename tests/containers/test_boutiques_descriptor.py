"""The Boutiques descriptor is valid, and equals the command line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.dev.boutiques_descriptor import describe
from tests.conftest import REPOSITORY

DESCRIPTOR = REPOSITORY / "containers" / "wmh-infer.boutiques.json"
BOSH = shutil.which("bosh", path=Path(sys.executable).parent)

needs_bosh = pytest.mark.skipif(BOSH is None, reason="boutiques is not installed")


def bosh(*arguments):
    return subprocess.run([BOSH, *map(str, arguments)], capture_output=True, text=True)


def test_it_is_up_to_date():
    module = "python -m benchmarks.dev.boutiques_descriptor"
    advice = f"write it again: {module} > containers/wmh-infer.boutiques.json"
    assert json.loads(DESCRIPTOR.read_text(encoding="utf-8")) == describe(), advice


@needs_bosh
def test_boutiques_finds_it_valid():
    done = bosh("validate", DESCRIPTOR)
    assert (done.returncode, done.stdout.strip()) == (0, "OK"), done.stderr


@needs_bosh
def test_boutiques_finds_a_wrong_one_invalid(tmp_path):
    wrong = describe()
    wrong["inputs"][0]["type"] = "Folder"
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    assert bosh("validate", tmp_path / "wrong.json").returncode != 0


@needs_bosh
def test_the_command_that_boutiques_makes_of_inputs(tmp_path):
    """Arguments are in their order, and an option is repeated for each of its values."""
    values = {
        "source": str(REPOSITORY / "examples"),
        "out": "results",
        "level": "participant",
        "participant_label": ["01", "02"],
        "threshold": 0.25,
        "dry_run": True,
    }
    inputs = tmp_path / "inputs.json"
    inputs.write_text(json.dumps(values))
    done = bosh("exec", "simulate", DESCRIPTOR, "-i", inputs)
    expected = (
        f"wmh-infer {REPOSITORY / 'examples'} results participant --participant-label 01"
        " --participant-label 02 --threshold 0.25 --dry-run"
    )
    assert done.stdout.split("Generated Command:\n")[1].strip() == expected
