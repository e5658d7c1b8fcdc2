"""The whole way as a user goes it: train, calibrate, export, segment."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.toys import SMALL_RECIPE, write_annotated_heads, write_toml
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

    status, said, _ = run_command(train, "fit", recipe, "--data", data, "--out", run)
    assert status == 0
    assert "epoch 30/30" in said
    status, _, errors = run_command(export, "build", run, "--out", bundle)
    assert (status, "is not calibrated" in errors) == (2, True)
    status, said, _ = run_command(train, "calibrate", run, "--data", data)
    assert status == 0
    assert "mean Dice" in said
    status, said, errors = run_command(export, "build", run, "--out", bundle)
    assert status == 0, errors
    assert "mask Dice 1.0000" in said
    status, _, errors = run_command(infer, data, tmp_path / "out", "--bundle", bundle)
    assert status == 0, errors
    mask = nib.load(tmp_path / "out" / "sub-02_label-WMH_mask.nii.gz")
    assert np.asarray(mask.dataobj).any()


@pytest.mark.parametrize("command", [train, export, infer, evaluate, bench])
def test_help_says_what_it_is_for_and_what_not(command, run_command):
    status, said, _ = run_command(command, "--help")
    assert status == 0
    assert "Research use only" in " ".join(said.split())


def test_nothing_speaks_of_the_machine_it_was_made_on():
    """Documents and code name no folder of a developer's machine and no registry's host."""
    foreign = ("/" + "work/", "/" + "root/", "pypi." + "org", "shared/" + "reference")
    for path in REPOSITORY.rglob("*"):
        relative = path.relative_to(REPOSITORY)
        is_text = path.suffix in {".py", ".md", ".toml", ".json"}
        if is_text and not relative.parts[0].startswith("."):
            text = path.read_text(encoding="utf-8")
            assert not [word for word in foreign if word in text], relative


def test_a_library_that_is_missing_is_told_in_words(run_command, monkeypatch):
    from wmh_export.cli import main

    monkeypatch.setitem(sys.modules, "wmh_export.build", None)
    status, _, errors = run_command(main, "build", "run", "--out", "bundle")
    assert status == 2
    assert "is not installed" in errors
    assert "pip install '.[cpu,export]'" in errors
