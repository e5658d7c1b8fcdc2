import csv
import json
import shutil
import sys

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.toys import write_annotated_heads
from wmh_runtime.cli.launcher import evaluate, infer
from wmh_runtime.evaluation import scoring

REPORT = {
    "bland-altman.png",
    "errors.png",
    "groups.csv",
    "metrics.csv",
    "summary.md",
    "volumes.png",
}


@pytest.fixture
def heads(tmp_path):
    """Three heads with 1, 2 and 3 cubes as references, and predictions that equal them.

    A cube has 2 × 2 × 2 voxels of 4 × 4 × 5 mm, 0.64 mL.
    """
    write_annotated_heads(tmp_path / "heads", 3)
    shutil.copytree(tmp_path / "heads" / "derivatives" / "reference", tmp_path / "results")
    (tmp_path / "heads" / "participants.tsv").write_text(
        "participant_id\tsite\nsub-00\tLeipzig\nsub-01\tUtrecht\n"
    )
    return tmp_path


@pytest.fixture
def run(heads, run_command):
    def run(*options):
        references = heads / "heads" / "derivatives" / "reference"
        out = heads / "report"
        return run_command(evaluate, heads / "results", references, "--out", out, *options)

    return run


def mask_of(heads, name):
    return heads / "results" / f"{name}_label-WMH_mask.nii.gz"


def change(path, edit, *, shift_mm=0.0):
    image = nib.load(path)
    voxels = np.asarray(image.dataobj).copy()
    edit(voxels)
    affine = image.affine.copy()
    affine[0, 3] += shift_mm
    nib.save(nib.Nifti1Image(voxels, affine), path)


def rows_of(heads, table="metrics.csv"):
    with (heads / "report" / table).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_masks_against_themselves_are_perfect(heads, run):
    status, said, errors = run("--scans", heads / "heads")
    assert (status, errors) == (0, "")
    figures = dict(line.split(maxsplit=1) for line in said.splitlines() if line[0] in "DHA")
    assert figures["Dice"] == "1.000 [1.000, 1.000]"
    assert figures["H95"] == "0.00 mm [0.00, 0.00]"
    assert figures["AVD"] == "0.0 % [0.0, 0.0]"
    assert "Volume bias     0.00 mL, limits of agreement: 0.00 to 0.00 mL" in said
    assert {path.name for path in (heads / "report").iterdir()} == REPORT
    assert [(row["name"], row["site"]) for row in rows_of(heads)] == [
        ("sub-00", "Leipzig"),
        ("sub-01", "Utrecht"),
        ("sub-02", ""),
    ]
    assert [float(row["reference_ml"]) for row in rows_of(heads)] == [0.64, 1.28, 1.92]
    assert "| unknown | 1 | 1.000 |" in (heads / "report" / "summary.md").read_text()


def test_a_cube_that_is_missed_costs_what_it_should(heads, run):
    """The second head's second cube, at rows 10 and 11, is missed: Dice 2 · 8 / (8 + 16)."""

    def forget(voxels):
        voxels[:, 10:12] = 0

    change(mask_of(heads, "sub-01"), forget)
    status, said, _ = run()
    assert status == 0
    row = rows_of(heads)[1]
    assert float(row["dice"]) == pytest.approx(2 / 3, abs=1e-5)
    assert (float(row["avd_percent"]), float(row["lesion_recall"])) == (50, 0.5)
    # Differences 0, −0.64 and 0: bias −0.64/3; standard deviation 0.64/√3; 1.96 of it 0.724.
    assert "Volume bias     −0.21 mL, limits of agreement: −0.94 to 0.51 mL" in said


def test_figures_of_sites_and_loads_have_their_intervals_and_volumes(heads, run):
    """The second head's mask misses one of two cubes of 0.64 mL.

    Two heads of Leipzig: Dice 1 and 2 · 8 / (8 + 16); precision 1 and 1; recall and IoU 1 and ½.
    Volumes 0.64 and 0.64 mL for 0.64 and 1.28: squares 0.64² against a spread of 2 · 0.32², so
    R² is 1 − 2; bias −0.32; the differences' standard deviation is 0.64 / √2, 1.96 of it 0.887.
    """

    def forget(voxels):
        voxels[:, 10:12] = 0

    (heads / "heads" / "participants.tsv").write_text(
        "participant_id\tsite\nsub-00\tLeipzig\nsub-01\tLeipzig\nsub-02\tUtrecht\n"
    )
    change(mask_of(heads, "sub-01"), forget)
    assert run()[0] == 0
    rows = {(row["by"], row["group"]): row for row in rows_of(heads, "groups.csv")}
    assert list(rows) == [
        ("all", "all"),
        ("site", "Leipzig"),
        ("site", "Utrecht"),
        ("load_band_ml", "under 2"),
    ]
    leipzig, utrecht = rows["site", "Leipzig"], rows["site", "Utrecht"]
    assert (leipzig["cases"], utrecht["cases"], rows["all", "all"]["cases"]) == ("2", "1", "3")
    expected = {
        **{"dice": 5 / 6, "dice_low": 2 / 3, "dice_high": 1, "precision": 1, "precision_low": 1},
        **{"recall": 0.75, "recall_low": 0.5, "recall_high": 1, "iou": 0.75, "avd_percent": 25},
        **{"lesion_precision": 1, "lesion_recall": 0.75, "volume_r_squared": -1},
        **{"volume_bias_ml": -0.32, "volume_lower_limit_ml": -0.32 - 0.887},
        **{"volume_upper_limit_ml": -0.32 + 0.887},
    }
    assert {name: float(leipzig[name]) for name in expected} == pytest.approx(expected, abs=1e-4)
    assert (utrecht["dice"], utrecht["dice_low"], utrecht["volume_r_squared"]) == ("1", "", "")
    text = (heads / "report" / "summary.md").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("| Leipzig"))
    assert line.startswith("| Leipzig | 2 | 0.833 [0.667, 1.000] |")
    assert line.endswith("| −1.000 | −0.32 |")


def test_a_mask_on_another_grid_is_named_and_the_others_go_on(heads, run):
    change(mask_of(heads, "sub-01"), lambda voxels: None, shift_mm=3)
    status, said, errors = run()
    assert status == 1
    assert "sub-01_label-WMH_mask.nii.gz: is not on the grid of" in errors
    assert "2 masks compared" in said
    assert [row["name"] for row in rows_of(heads)] == ["sub-00", "sub-02"]
    assert "- sub-01: " in (heads / "report" / "summary.md").read_text()


def test_where_nothing_can_be_compared_the_status_says_so(heads, run):
    for number in range(3):
        change(mask_of(heads, f"sub-0{number}"), lambda voxels: None, shift_mm=3)
    status, _, errors = run()
    assert status == 2
    assert "no WMH mask could be compared" in errors
    assert not (heads / "report" / "summary.md").exists()


def test_a_missing_prediction_stops_all_unless_allowed(heads, run):
    mask_of(heads, "sub-01").rename(mask_of(heads, "other"))
    status, _, errors = run()
    assert status == 2
    assert "1 of 3 references have no prediction" in errors
    assert "the first is " in errors
    assert "sub-01_label-WMH_mask.nii.gz; partial scores would be biased" in errors
    status, said, _ = run("--allow-missing")
    assert status == 0
    assert "skipped 1 reference without a prediction: sub-01_label" in said
    assert "skipped 1 prediction without a reference: other_label" in said
    text = (heads / "report" / "summary.md").read_text()
    assert "- 1 reference without a prediction: " in text


def test_an_empty_reference_is_scored_by_the_convention(heads, run):
    reference = heads / "heads" / "derivatives" / "reference" / "sub-02_label-WMH_mask.nii.gz"
    change(reference, lambda voxels: voxels.fill(0))
    status, said, _ = run()
    assert status == 0
    row = rows_of(heads)[2]
    assert (row["dice"], row["avd_percent"], row["h95_mm"]) == ("0", "", "")
    assert "AVD             0.0 % [0.0, 0.0] (1 without value)" in said


def test_a_scan_of_another_grid_is_not_drawn_and_is_reported(heads, run):
    change(heads / "heads" / "sub-02_FLAIR.nii.gz", lambda voxels: None, shift_mm=3)
    status, _, errors = run("--scans", heads / "heads")
    assert status == 0
    assert "warning: scan not drawn: " in errors
    assert "voxels are up to 3.0 mm apart" in errors


def test_errors_are_drawn_over_the_scan(heads, run):
    """Without a scan the cells are of one dark grey, 255 · (1/3)^1.2 = 68; a head has noise."""

    def share_of_empty_grid():
        picture = np.asarray(Image.open(heads / "report" / "errors.png"))
        return (picture == 68).all(axis=2).mean()

    run()
    without = share_of_empty_grid()
    assert without > 0.2
    status, _, errors = run("--scans", heads / "heads")
    assert (status, errors) == (0, "")
    assert share_of_empty_grid() < without / 3


def test_the_scan_of_a_prediction_may_be_a_processed_version(heads, run):
    for folder in (heads / "results", heads / "heads" / "derivatives" / "reference"):
        for path in folder.glob("*_mask.nii.gz"):
            path.rename(folder / path.name.replace("_label", "_FLAIR_brain_label"))
    for path in (heads / "heads").glob("*_FLAIR.nii.gz"):
        shutil.copy(path, path.with_name(path.name.replace("_FLAIR", "_FLAIR_brain")))
    status, _, errors = run("--scans", heads / "heads")
    assert (status, errors) == (0, "")  # otherwise: no scan belongs to a prediction


def test_a_table_names_pairs_and_sites(heads, run_command):
    table = heads / "pairs.csv"
    table.write_text(
        "prediction,reference,site\n"
        "results/sub-00_label-WMH_mask.nii.gz,"
        "heads/derivatives/reference/sub-02_label-WMH_mask.nii.gz,Ulm\n"
    )
    status, said, _ = run_command(evaluate, heads / "results", table, "--out", heads / "report")
    assert status == 0
    assert "skipped 2 predictions without a reference" in said
    # One cube of three: Dice 2 · 8 / (8 + 24).
    row = rows_of(heads)[0]
    assert (row["name"], row["site"], row["dice"]) == ("sub-00", "Ulm", "0.5")


@pytest.mark.parametrize("library", ["scipy", "matplotlib"])
def test_a_missing_library_is_reported_before_any_work(library, heads, run, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    status, said, errors = run()
    assert (status, said) == (2, "")
    assert f"{library} is not installed" in errors
    assert 'pip install "wmh-lora[eval]"' in errors
    assert not (heads / "report").exists()


def segment(heads, run_command, bundle, *options):
    """Replace the predictions by those of wmh-infer."""
    shutil.rmtree(heads / "results")
    known = ("--bundle", bundle, "--backend", "onnxruntime")
    assert run_command(infer, heads / "heads", heads / "results", *known, *options)[0] == 0


def test_the_report_names_model_thresholds_and_warnings_once(heads, run, run_command, toy_bundle):
    manifest = toy_bundle / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"warning": "for trying | only"}))
    segment(heads, run_command, toy_bundle, "--threshold", "0.75")
    mask = mask_of(heads, "sub-02")
    (mask.parent / mask.name.replace(".nii.gz", ".json")).unlink()
    assert run()[0] == 0
    text = (heads / "report" / "summary.md").read_text()
    (known, unknown) = (line for line in text.splitlines() if line.startswith("- Model: "))
    assert known.startswith("- Model: toy ")
    assert "threshold 0.75, minimum lesion size " in known
    assert known.endswith("eight views, fp32 (2 of 3 masks)")
    assert unknown.startswith("- Model: not stated")
    assert unknown.endswith("(1 of 3 masks)")
    assert text.count("- **Warning:** for trying \\| only (2 of 3 masks)") == 1
    rows = rows_of(heads)
    assert [(row["model"], row["threshold"]) for row in rows] == [("toy", "0.75")] * 2 + [("", "")]
    assert len(rows[0]["model_id"]) > 8


def test_the_sidecar_of_a_replaced_mask_is_not_believed(heads, run, run_command, toy_bundle):
    segment(heads, run_command, toy_bundle)
    for number in range(3):
        change(mask_of(heads, f"sub-0{number}"), lambda voxels: None)
    assert run()[0] == 0
    text = (heads / "report" / "summary.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("- Model: ")] == [
        "- Model: not stated, since there is no JSON file of wmh-infer beside the mask"
    ]


def test_one_case_alone_is_told_what_is_missing(heads, run):
    for number in (1, 2):
        name = f"sub-0{number}_label-WMH_mask.nii.gz"
        (heads / "results" / name).unlink()
        (heads / "heads" / "derivatives" / "reference" / name).unlink()
    status, said, _ = run()
    assert status == 0
    assert "Volume R²       needs 2 cases of different volume" in said
    assert "Volume bias     0.00 mL, limits of agreement: needs 2 cases" in said


def test_every_output_that_both_sides_have_is_evaluated(heads, run):
    """The infarct masks of two heads are right, that of the third is empty: Dice 0."""
    references = heads / "heads" / "derivatives" / "reference"
    for folder, label in ((heads / "results", "INFARCT"), (references, "infarct")):
        for number in range(3):
            mask = folder / f"sub-0{number}_label-WMH_mask.nii.gz"
            shutil.copy(mask, folder / f"sub-0{number}_label-{label}_mask.nii.gz")
    shutil.copy(mask, references / "sub-02_label-ventricles_mask.nii.gz")
    change(heads / "results" / "sub-02_label-INFARCT_mask.nii.gz", lambda voxels: voxels.fill(0))
    status, said, errors = run("--scans", heads / "heads")
    assert (status, errors) == (0, "")
    assert "skipped masks of ventricles: only in the references" in said
    reports = {path.name for path in (heads / "report").iterdir()}
    assert reports == {"label-INFARCT", "label-WMH"}
    found = {}
    for name in reports:
        assert {path.name for path in (heads / "report" / name).iterdir()} == REPORT
        rows = rows_of(heads, f"{name}/metrics.csv")
        found[name] = [(row["name"], row["dice"]) for row in rows]
    right = [("sub-00", "1"), ("sub-01", "1")]
    assert found == {
        "label-INFARCT": [*right, ("sub-02", "0")],
        "label-WMH": [*right, ("sub-02", "1")],
    }
    text = (heads / "report" / "label-INFARCT" / "summary.md").read_text()
    assert text.startswith("# Evaluation of INFARCT masks\n")


def test_an_output_without_reference_does_not_hinder_the_other(heads, run):
    mask = mask_of(heads, "sub-00")
    shutil.copy(mask, mask.with_name("sub-00_label-INFARCT_mask.nii.gz"))
    status, said, _ = run()
    assert status == 0
    assert "skipped masks of infarct: only in the predictions" in said
    assert {path.name for path in (heads / "report").iterdir()} == REPORT


def test_a_failure_of_one_output_is_the_status_of_the_command(heads, run):
    references = heads / "heads" / "derivatives" / "reference"
    for folder in (heads / "results", references):
        mask = folder / "sub-00_label-WMH_mask.nii.gz"
        shutil.copy(mask, folder / "sub-00_label-A_mask.nii.gz")
    change(heads / "results" / "sub-00_label-A_mask.nii.gz", lambda voxels: None, shift_mm=3)
    status, said, errors = run()
    assert status == 1
    assert "no A mask could be compared" in errors
    assert "3 masks compared" in said


def test_if_no_output_can_be_compared_the_status_says_so(heads, run):
    for number in range(3):
        mask = mask_of(heads, f"sub-0{number}")
        change(mask, lambda voxels: None, shift_mm=3)
        for folder in (heads / "results", heads / "heads" / "derivatives" / "reference"):
            name = folder / mask.name
            shutil.copy(name, name.with_name(name.name.replace("WMH", "A")))
    status, _, errors = run()
    assert (status, "no A mask could be compared" in errors) == (2, True)


def test_masks_in_another_order_of_voxels_are_compared(heads, run):
    path = mask_of(heads, "sub-01")
    image = nib.load(path)
    to_ras = nib.as_closest_canonical(image)  # stored as LPS
    assert nib.aff2axcodes(image.affine) != nib.aff2axcodes(to_ras.affine)
    nib.save(to_ras, path)
    assert run("--scans", heads / "heads")[0] == 0
    assert [float(row["dice"]) for row in rows_of(heads)] == [1, 1, 1]


def test_a_bug_met_with_one_pair_is_logged_and_the_others_go_on(heads, run, monkeypatch):
    compare = scoring.compare_masks
    calls = iter([True])

    def fail_once(*arguments):
        if next(calls, False):
            raise IndexError("slice 7")
        return compare(*arguments)

    monkeypatch.setattr(scoring, "compare_masks", fail_once)
    status, said, errors = run()
    assert status == 1
    assert "2 masks compared" in said
    assert f"{mask_of(heads, 'sub-00')}: unexpected error (IndexError: slice 7)" in errors
    assert "Traceback" not in errors
    assert "slice 7" in (heads / "report" / "errors.log").read_text(encoding="utf-8")


def test_exchanged_folders_have_a_warning(heads, run_command, toy_bundle):
    segment(heads, run_command, toy_bundle)
    references = heads / "heads" / "derivatives" / "reference"
    folders = (references, heads / "results")
    _, _, errors = run_command(evaluate, *folders, "--out", heads / "report")
    assert "made the references, and not the predictions: are the folders exchanged?" in errors
    top, _ = (heads / "report" / "summary.md").read_text(encoding="utf-8").split("## All cases")
    assert "are the folders exchanged?" in top
    _, _, errors = run_command(evaluate, *reversed(folders), "--out", heads / "other")
    assert "exchanged" not in errors


def test_a_scan_is_not_accepted_as_a_prediction(heads, run):
    shutil.copy(heads / "heads" / "sub-01_FLAIR.nii.gz", mask_of(heads, "sub-01"))
    status, _, errors = run()
    assert status == 1
    assert "sub-01_label-WMH_mask.nii.gz: is not a mask: it has values from " in errors
    assert {row["name"] for row in rows_of(heads)} == {"sub-00", "sub-02"}


def test_masks_of_0_and_255_and_probabilities_are_predictions(heads, run):
    for name, factor in (("sub-00", 255), ("sub-01", 0.9)):
        image = nib.load(mask_of(heads, name))
        scaled = (image.get_fdata() * factor).astype(np.float32)
        nib.save(nib.Nifti1Image(scaled, image.affine), mask_of(heads, name))
    assert run()[0] == 0
    assert [float(row["dice"]) for row in rows_of(heads)] == [1, 1, 1]


@pytest.mark.parametrize("folder", ["results", "heads/derivatives/reference", "heads"])
def test_a_report_among_masks_or_scans_is_refused(heads, run_command, folder):
    references = heads / "heads" / "derivatives" / "reference"
    before = sorted(heads.rglob("*"))
    options = ("--out", heads / folder, "--scans", heads / "heads")
    status, _, errors = run_command(evaluate, heads / "results", references, *options)
    assert (status, "would mix it with masks or scans" in errors) == (2, True)
    assert sorted(heads.rglob("*")) == before


def test_a_mask_that_was_changed_by_hand_is_not_credited_to_the_model(
    heads, run, run_command, toy_bundle
):
    shutil.rmtree(heads / "results")
    run_command(infer, heads / "heads", heads / "results", "--bundle", toy_bundle)

    image = nib.load(mask_of(heads, "sub-01"))
    cleared = nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine, image.header)
    nib.save(cleared, mask_of(heads, "sub-01"))  # a viewer keeps the header
    assert run()[0] == 0
    assert [row["model"] for row in rows_of(heads)] == ["toy", "", "toy"]
    summary = (heads / "report" / "summary.md").read_text(encoding="utf-8")
    assert ", then changed by hand (1 of 3 masks)" in summary


REGION_NUMBERS = np.zeros((24, 30, 6), np.uint8)  # voxels of 4 × 4 × 5 mm, 0.08 mL
REGION_NUMBERS[4:14] = 1  # 10 × 30 × 6 voxels of brain …
REGION_NUMBERS[8:10] = 2  # … and, within them, 2 × 30 × 6 of ventricles


REGION_NAMES = "index\tname\n1\tbrain\n2\tventricles\n"


def write_regions(
    heads, name="sub-00", numbers=REGION_NUMBERS, folder="results", names=REGION_NAMES
):
    """Write regions as `wmh-infer --regions` does, for a head of the fixture."""
    affine = nib.load(mask_of(heads, name)).affine
    stem = heads / folder / f"{name}_space-orig_seg-brain_dseg"
    stem.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(numbers, affine), f"{stem}.nii.gz")
    stem.with_suffix(".tsv").write_text(names)


def write_region_mask(heads, region, voxels, name="sub-00"):
    path = heads / "heads" / "derivatives" / "reference" / f"{name}_label-{region}_mask.nii.gz"
    nib.save(nib.Nifti1Image(voxels.astype(np.uint8), nib.load(mask_of(heads, name)).affine), path)


def test_regions_are_compared_too(heads, run):
    write_regions(heads)
    x = np.arange(24)[:, None, None] + np.zeros((24, 30, 6))
    write_region_mask(heads, "BRAIN", (x >= 4) & (x < 14))
    write_region_mask(heads, "VENTRICLES", (x >= 9) & (x < 11))  # one of two planes in common
    write_region_mask(heads, "CORTEX", x >= 13)  # not predicted
    status, said, _ = run()
    assert status == 0
    assert "brain, ventricles to compare" in said
    assert "ventricles      Dice 0.500, volume +0.00 mL, mean of 1 scan" in said
    assert "skipped masks of cortex: only in the references" in said
    rows = list(csv.DictReader((heads / "report" / "region_scores.csv").read_text().splitlines()))
    assert [(row["case"], row["region"], row["dice"]) for row in rows] == [
        ("sub-00", "brain", "1.0000"),
        ("sub-00", "ventricles", "0.5000"),
    ]
    assert rows[0]["reference_ml"] == rows[0]["predicted_ml"] == f"{10 * 30 * 6 * 0.08:.4f}"


def test_regions_can_be_compared_with_a_corrected_segmentation(heads, run):
    references = heads / "heads" / "derivatives" / "reference"
    for path in references.glob("*_mask.nii.gz"):
        path.unlink()  # regions alone
    for name in ("sub-00", "sub-01"):
        write_regions(heads, name)
    corrected = REGION_NUMBERS.copy()
    corrected[10:12] = 2  # twice as many ventricles, the same brain
    write_regions(heads, numbers=corrected, folder=references.relative_to(heads))
    status, said, errors = run()
    assert status == 0, errors
    rows = list(csv.DictReader((heads / "report" / "region_scores.csv").read_text().splitlines()))
    assert [(row["case"], row["region"], row["dice"]) for row in rows] == [
        ("sub-00", "brain", "1.0000"),
        ("sub-00", "ventricles", "0.6667"),  # 2 · 2 / (2 + 4)
    ]
    assert "ventricles      Dice 0.667, volume -28.80 mL, mean of 1 scan" in said


def test_regions_that_one_side_lacks_are_said(heads, run):
    references = (heads / "heads" / "derivatives" / "reference").relative_to(heads)
    write_regions(heads)
    names = "index\tname\n1\tbrain\n2\tfluid\n"
    write_regions(heads, folder=references, names=names)
    write_regions(heads, "sub-01", folder=references)
    status, said, errors = run()
    assert status == 0
    assert "brain to compare" in said
    assert "skipped the regions ventricles: only in the predictions" in said
    assert "brain: 1 of 2 references without a prediction" in errors
    (row,) = csv.DictReader((heads / "report" / "region_scores.csv").read_text().splitlines())
    # The fluid is no region of the prediction: 8 of its 10 planes are brain.
    assert (row["region"], row["dice"]) == ("brain", f"{2 * 8 / (8 + 10):.4f}")
    write_regions(heads, folder=references, names=REGION_NAMES.title())  # Brain, Ventricles
    status, said, errors = run()
    assert (status, "skipped the regions brain, ventricles: only in" in said) == (0, True), errors


def test_a_damaged_table_of_regions_fails_alone(heads, run):
    for name in ("sub-00", "sub-01"):
        write_regions(heads, name)
        for region in ("BRAIN", "VENTRICLES"):
            write_region_mask(heads, region, REGION_NUMBERS == 2, name)
    (heads / "results" / "sub-00_space-orig_seg-brain_dseg.tsv").write_text("")
    status, said, errors = run()
    assert status == 1
    assert "1 mask failed" in errors  # once, not for each region
    assert "ventricles      Dice 1.000, volume +0.00 mL, mean of 1 scan" in said
    assert "3 masks compared" in said  # of lesions
    (heads / "results" / "sub-01_space-orig_seg-brain_dseg.tsv").write_text("")
    assert run()[0] == 0  # no region is known


def test_a_region_on_another_grid_fails_alone(heads, run):
    for name in ("sub-00", "sub-01"):
        write_regions(heads, name)
        write_region_mask(heads, "VENTRICLES", REGION_NUMBERS == 2, name)
    moved = heads / "results" / "sub-00_space-orig_seg-brain_dseg.nii.gz"
    change(moved, lambda voxels: None, shift_mm=7)
    status, said, errors = run()
    assert status == 1
    assert "1 mask failed" in errors
    assert "ventricles      Dice 1.000, volume +0.00 mL, mean of 1 scan" in said
