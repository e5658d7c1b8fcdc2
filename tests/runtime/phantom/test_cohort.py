import csv
import json
from multiprocessing.pool import ThreadPool

import nibabel as nib
import numpy as np
import pytest

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from wmh_runtime.cli.phantom import main
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.errors import InputError
from wmh_runtime.phantom import cohort
from wmh_runtime.phantom.cohort import RESERVED_SEEDS, plan_cohort, write_cohort
from wmh_runtime.phantom.head import PhantomProperties


def test_sites_take_turns_and_loads_are_evenly_spaced():
    # Three loads from 1 to 4 mL, evenly spaced on a logarithmic scale: 1, 2, 4.
    plans = plan_cohort(3, seed=7, loads_ml=(1, 4))
    assert [plan.site for plan in plans] == ["utrecht", "singapore", "amsterdam"]
    assert sorted(plan.load_ml for plan in plans) == [1, 2, 4]
    assert [plan.seed for plan in plans] == [7000, 7001, 7002]


def test_a_plan_depends_only_on_its_seed():
    assert plan_cohort(5, 3, (1, 9)) == plan_cohort(5, 3, (1, 9))
    heads = {plan.seed for seed in range(4) for plan in plan_cohort(1000, seed, (1, 9))}
    assert len(heads) == 4000


@pytest.mark.parametrize(
    ("subjects", "loads_ml"), [(0, (1, 2)), (1001, (1, 2)), (1, (0, 2)), (1, (3, 2)), (1, (1, 61))]
)
def test_invalid_plans_are_refused(subjects, loads_ml):
    with pytest.raises(InputError):
        plan_cohort(subjects, 0, loads_ml)


def test_the_command_writes_scans_and_separate_reference_masks(tmp_path, run_command, monkeypatch):
    monkeypatch.setattr(cohort, "Pool", lambda count, _: ThreadPool(count))
    with coarse_phantoms():
        status, output, _ = run_command(
            main, tmp_path / "s", "--subjects", 1, "--seed", 7, "--loads-ml", 3, 3, "--t1"
        )
    assert status == 0
    assert "reference masks in" in output
    names = sorted(p.relative_to(tmp_path / "s").as_posix() for p in (tmp_path / "s").rglob("*.*"))
    assert names == [
        "dataset_description.json",
        "derivatives/reference/sub-7000_label-WMH_mask.nii.gz",
        "derivatives/reference/sub-7000_to_sub-7000_facts.tsv",
        "participants.tsv",
        "sub-7000_FLAIR.nii.gz",
        "sub-7000_T1w.nii.gz",
    ]
    found = discover(tmp_path / "s", tmp_path / "out")
    assert [scan.relative.name for scan in found.scans] == ["sub-7000_FLAIR.nii.gz"]
    table = tmp_path / "s" / "participants.tsv"
    assert table.read_text() == "participant_id\tsite\nsub-7000\tutrecht\n"
    scan = nib.load(tmp_path / "s" / "sub-7000_FLAIR.nii.gz")
    mask = nib.load(tmp_path / "s" / "derivatives/reference/sub-7000_label-WMH_mask.nii.gz")
    t1 = nib.load(tmp_path / "s" / "sub-7000_T1w.nii.gz")
    assert scan.shape == mask.shape == t1.shape == (120, 120, 24)
    np.testing.assert_array_equal(scan.affine, mask.affine)
    assert (int(scan.header["qform_code"]), int(scan.header["sform_code"])) == (1, 1)
    volume_ml = mask.get_fdata().sum() * abs(np.linalg.det(mask.affine[:3, :3])) / 1000
    assert volume_ml == pytest.approx(3, rel=0.01)
    with (tmp_path / "s/derivatives/reference/sub-7000_to_sub-7000_facts.tsv").open() as file:
        (properties,) = csv.DictReader(file, delimiter="\t")
    assert float(properties["volume_ml"]) == pytest.approx(volume_ml, abs=1e-3)
    description = json.loads((tmp_path / "s" / "dataset_description.json").read_text())
    assert "Procedural" in description["Name"]

    status, _, errors = run_command(main, tmp_path / "s", "--subjects", 1, "--seed", 7)
    assert status == 2
    assert "already exists" in errors


def test_phantoms_with_another_seed_are_added_to_participants_tsv(tmp_path, monkeypatch):
    properties = PhantomProperties(8000, "utrecht", 1, 1, 1, 1, 1)
    monkeypatch.setattr(cohort, "write_phantom", lambda plan, folder: properties)
    monkeypatch.setattr(cohort, "Pool", lambda count, _: ThreadPool(count))
    (tmp_path / "derivatives" / "reference").mkdir(parents=True)
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\tsite\tage\nsub-7\tleipzig\t70\nsub-8000\tx\t1\n")
    write_cohort(plan_cohort(2, 8, (1, 2)), tmp_path, workers=1, on_written=lambda: None)
    assert table.read_text().splitlines() == [
        "participant_id\tsite\tage",
        "sub-7\tleipzig\t70",
        "sub-8000\tutrecht\tn/a",
        "sub-8001\tsingapore\tn/a",
    ]


@pytest.mark.parametrize("seed", sorted(RESERVED_SEEDS))
def test_reserved_seeds_are_refused(tmp_path, run_command, seed):
    status, _, errors = run_command(main, tmp_path / "data", "--seed", seed)
    assert status == 2
    assert f"--seed: {seed} is kept for heads that {RESERVED_SEEDS[seed]}" in errors
    assert not (tmp_path / "data").exists()
