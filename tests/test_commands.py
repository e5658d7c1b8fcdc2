"""The commands in the order of a user: train, calibrate, export, segment."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.toys import write_annotated_heads
from tests.training_toys import SMALL_RECIPE, write_toml
from wmh_bench.cli import main as bench
from wmh_export.cli import main as export
from wmh_runtime.cli.evaluate import main as evaluate
from wmh_runtime.cli.infer import main as infer
from wmh_train.cli import main as train

REPOSITORY = Path(__file__).resolve().parents[1]


def test_from_scans_to_masks_with_four_commands(tmp_path, run_command):
    schedule = SMALL_RECIPE["schedule"] | {"epochs": 30, "restart_epochs": 29}
    recipe = write_toml(tmp_path / "small.toml", SMALL_RECIPE | {"schedule": schedule})
    data = write_annotated_heads(tmp_path / "data", 8)
    run, bundle = tmp_path / "run", tmp_path / "bundle"

    status, output, _ = run_command(train, "fit", recipe, "--data", data, "--out", run)
    assert status == 0
    assert "epoch 30/30" in output
    status, _, errors = run_command(export, "build", run, "--out", bundle)
    assert (status, "is not calibrated" in errors) == (2, True)
    status, output, _ = run_command(train, "calibrate", run, "--data", data)
    assert status == 0
    assert "mean Dice" in output
    status, output, errors = run_command(export, "build", run, "--out", bundle)
    assert status == 0, errors
    assert "mask Dice 1.0000" in output
    status, _, errors = run_command(infer, data, tmp_path / "out", "--bundle", bundle)
    assert status == 0, errors
    mask = nib.load(tmp_path / "out" / "sub-02_label-WMH_mask.nii.gz")
    assert np.asarray(mask.dataobj).any()


@pytest.mark.parametrize("command", [train, export, infer, evaluate, bench])
def test_help_states_research_use_only(command, run_command):
    status, output, _ = run_command(command, "--help")
    assert status == 0
    assert "Research use only" in " ".join(output.split())


def test_no_file_names_a_path_of_a_developers_machine():
    """Documents and code name no folder of a developer's machine and no package registry."""
    forbidden = ("/" + "work/", "/" + "root/", "pypi." + "org", "shared/" + "reference")
    for path in REPOSITORY.rglob("*"):
        relative = path.relative_to(REPOSITORY)
        is_text = path.suffix in {".py", ".md", ".toml", ".json"}
        if is_text and not relative.parts[0].startswith("."):
            text = path.read_text(encoding="utf-8")
            assert not [word for word in forbidden if word in text], relative


def test_a_missing_library_is_reported_in_one_line(run_command, monkeypatch):
    from wmh_export.cli import main

    monkeypatch.setitem(sys.modules, "wmh_export.build", None)
    status, _, errors = run_command(main, "build", "run", "--out", "bundle")
    assert status == 2
    assert "is not installed" in errors
    assert "pip install '.[cpu,export]'" in errors
