"""A BIDS data set gives a BIDS derivative, by the word of the validator."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toys import write_head
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cohort.job import Progress
from wmh_runtime.cohort.plan import FolderOptions
from wmh_runtime.cohort.segment_folder import segment_folder
from wmh_runtime.errors import InputError
from wmh_runtime.outputs.paths import Extras

SCANS = (
    "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz",
    "sub-01/ses-2/anat/sub-01_ses-2_acq-3D_run-2_FLAIR.nii.gz",
    "sub-02/anat/sub-02_FLAIR.nii.gz",
)


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "bids"
    for lesions, name in enumerate(SCANS):
        write_head(root / name, lesions=lesions)
    text = json.dumps({"Name": "toys", "BIDSVersion": "1.10.0", "License": "CC0"})
    (root / "dataset_description.json").write_text(text, encoding="utf-8")
    return root


class Warnings(Progress):
    def __init__(self):
        self.lines = []

    def warned(self, line):
        self.lines.append(line)


def segment(dataset, out, bundle):
    heard = Warnings()
    wanted = FolderOptions(extras=Extras(probability=True))
    segment_folder(dataset, out, load_bundle(bundle), folder_options=wanted, progress=heard)
    return heard.lines


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_results_are_a_derivative_that_names_its_sources(dataset, toy_bundle):
    out = dataset / "derivatives" / "wmh"
    assert segment(dataset, out, toy_bundle) == []
    description = read_json(out / "dataset_description.json")
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "wmh-lora"
    assert description["DatasetLinks"] == {"raw": "../.."}
    folder = out / "sub-01" / "ses-1" / "anat"
    for name in ("label-WMH_mask", "label-WMH_probseg", "space-orig_desc-lesions_dseg"):
        sidecar = read_json(folder / f"sub-01_ses-1_{name}.json")
        assert sidecar["Sources"] == [f"bids:raw:{SCANS[0]}"]
        assert sidecar["SpatialReference"] == "orig"
        assert name.endswith("dseg") or sidecar["Type"] == "Lesion"


def test_the_link_to_the_data_set_is_a_uri(dataset, toy_bundle):
    odd = dataset.rename(dataset.with_name("my data #1"))
    segment(odd, odd.parent / "results", toy_bundle)
    description = read_json(odd.parent / "results" / "dataset_description.json")
    assert description["DatasetLinks"] == {"raw": "../my%20data%20%231"}


def test_a_description_without_a_name_is_a_warning_of_the_run(dataset, toy_bundle):
    (dataset / "dataset_description.json").write_text("{}", encoding="utf-8")
    (warning,) = segment(dataset, dataset.parent / "results", toy_bundle)
    assert "it has no Name" in warning


def test_what_the_user_adds_to_the_description_is_kept(dataset, toy_bundle):
    out = dataset.parent / "results"
    segment(dataset, out, toy_bundle)
    described = read_json(out / "dataset_description.json")
    other = {"Name": "other program"}
    described["GeneratedBy"].append(other)
    described["DatasetLinks"]["atlas"] = "../atlas"
    more = {**described, "Authors": ["Ann"], "Name": "mine"}
    (out / "dataset_description.json").write_text(json.dumps(more), encoding="utf-8")
    segment(dataset, out, toy_bundle)
    kept = read_json(out / "dataset_description.json")
    assert kept == {**described, "Authors": ["Ann"]}


def test_a_list_of_ignored_files_that_cannot_be_read_is_named(dataset, toy_bundle):
    out = dataset.parent / "results"
    out.mkdir()
    (out / ".bidsignore").write_bytes(b"\xe4\n")
    with pytest.raises(InputError, match="bidsignore: cannot be read"):
        segment(dataset, out, toy_bundle)


@pytest.mark.parametrize("inner", ["sub-01", "sub-01/out", "sub-01/ses-1/anat"])
def test_results_in_the_folder_of_a_subject_are_refused(dataset, toy_bundle, inner):
    with pytest.raises(InputError, match="as output folder"):
        segment(dataset, dataset / inner, toy_bundle)


def test_the_validator_finds_no_error(dataset, toy_bundle):
    validator = shutil.which("bids-validator-deno", path=Path(sys.executable).parent)
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    out = dataset.parent / "results"
    segment(dataset, out, toy_bundle)
    assert errors_of(validator, out) == []
    (out / "sub-02" / "anat" / "sub-02_label-WMH_dseg.nii.gz").touch()  # it does look at names
    assert errors_of(validator, out)


def errors_of(validator, folder):
    found = subprocess.run(
        [validator, "--json", folder], capture_output=True, text=True, check=False
    )
    issues = json.loads(found.stdout)["issues"]["issues"]
    return [issue for issue in issues if issue["severity"] == "error"]


def test_the_description_of_another_program_is_kept(dataset, toy_bundle):
    out = dataset.parent / "results"
    out.mkdir()
    text = json.dumps({"Name": "other", "GeneratedBy": [{"Name": "fMRIPrep"}]})
    (out / "dataset_description.json").write_text(text, encoding="utf-8")
    (warning,) = segment(dataset, out, toy_bundle)
    assert "dataset_description.json is of another program and is kept" in warning
    assert (out / "dataset_description.json").read_text(encoding="utf-8") == text
    assert not (out / ".bidsignore").exists()


def test_a_folder_that_is_no_data_set_gives_no_derivative(tmp_path, toy_bundle):
    write_head(tmp_path / "scans" / "a_FLAIR.nii.gz")
    segment(tmp_path / "scans", tmp_path / "out", toy_bundle)
    assert not (tmp_path / "out" / "dataset_description.json").exists()
    sidecar = read_json(tmp_path / "out" / "a_label-WMH_mask.json")
    assert sidecar["Sources"] == ["a_FLAIR.nii.gz"]


def test_the_readme_and_the_ignored_files_of_the_user_are_kept(dataset, toy_bundle):
    out = dataset.parent / "results"
    out.mkdir()
    (out / "README.md").write_text("my own notes\n", encoding="utf-8")
    (out / ".bidsignore").write_text("mine/\n", encoding="utf-8")
    for _ in range(2):
        segment(dataset, out, toy_bundle)
    assert (out / "README.md").read_text(encoding="utf-8") == "my own notes\n"
    lines = (out / ".bidsignore").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "mine/"
    assert lines.count("*_qc.png") == 1
