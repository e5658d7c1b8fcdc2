"""`wmh-infer` as its users call it, on a bundle whose answers are known by hand."""

import csv
import gzip
import hashlib
import json
import os
import re
import signal
import sys
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.toys import write_head, write_toy_bundle
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cli.infer.main import main
from wmh_runtime.files.process import this_process
from wmh_runtime.files.temporary import TEMPORARY_PREFIX, is_temporary
from wmh_runtime.image_quality import criteria
from wmh_runtime.outputs.paths import VOLUMES_NAME
from wmh_runtime.outputs.tables.results import FAILURES_NAME
from wmh_runtime.outputs.tables.skipped import SKIPPED_NAME

CUBE_ML = 8 * 4 * 4 * 5 / 1000  # 2 × 2 × 2 voxels


@pytest.fixture
def infer(tmp_path, toy_bundle, run_command):
    """Run on tmp_path/scans into tmp_path/out; return exit status, output and errors."""

    def run(*options, bundle=toy_bundle, out=tmp_path / "out", source=tmp_path / "scans"):
        known = ("--bundle", bundle, "--backend", "onnxruntime")
        return run_command(main, source, out, *known, *options)

    return run


QUALITY = [f"quality_{criterion.name}" for criterion in criteria.ALL]


def rows_of(out):
    with (out / VOLUMES_NAME).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_gives_masks_records_pictures_and_a_table(tmp_path, infer):
    write_head(tmp_path / "scans" / "sub-1_FLAIR.nii.gz", lesions=2)
    write_head(tmp_path / "scans" / "site" / "sub-2_FLAIR.nii", lesions=0)
    status, said, _ = infer("--probability")
    assert status == 0
    assert "2 scans to segment" in said
    out = tmp_path / "out"
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert names == [
        ".wmh/expected.json",
        "report.html",
        "site/sub-2_label-WMH_mask.json",
        "site/sub-2_label-WMH_mask.nii.gz",
        "site/sub-2_label-WMH_probseg.json",
        "site/sub-2_label-WMH_probseg.nii.gz",
        "site/sub-2_label-WMH_qc.png",
        "site/sub-2_label-WMH_slices.json",
        *(f"site/sub-2_space-orig_desc-lesions_dseg.{kind}" for kind in ("json", "nii.gz", "tsv")),
        "sub-1_label-WMH_mask.json",
        "sub-1_label-WMH_mask.nii.gz",
        "sub-1_label-WMH_probseg.json",
        "sub-1_label-WMH_probseg.nii.gz",
        "sub-1_label-WMH_qc.png",
        "sub-1_label-WMH_slices.json",
        *(f"sub-1_space-orig_desc-lesions_dseg.{kind}" for kind in ("json", "nii.gz", "tsv")),
        "volumes.csv",
        "volumes.json",
    ]
    table = {row["scan"]: row for row in rows_of(out)}
    assert float(table["sub-1_FLAIR.nii.gz"]["volume_ml"]) == pytest.approx(2 * CUBE_ML)
    assert table["sub-1_FLAIR.nii.gz"]["lesion_count"] == "2"
    assert table["site/sub-2_FLAIR.nii"]["volume_ml"] == "0.0000"

    mask = nib.load(out / "sub-1_label-WMH_mask.nii.gz")
    assert mask.get_data_dtype() == np.uint8
    assert np.asarray(mask.dataobj).sum() == 16
    probability = nib.load(out / "sub-1_label-WMH_probseg.nii.gz").get_fdata()
    assert probability.max() > 0.9
    with Image.open(out / "sub-1_label-WMH_qc.png") as picture:
        assert picture.width == 1500

    record = json.loads((out / "sub-1_label-WMH_mask.json").read_text())
    assert record["lesions"][0]["volume_mm3"] == CUBE_ML * 1000
    # Voxels 8–9, 6–7, 2–3: index (8.5, 6.5, 2.5) · (−4, −4, 5) + (47, 61, −12).
    assert record["lesions"][0]["center_ras_mm"] == [5.0, 35.0, 0.5]
    assert record["settings"]["output"] == {"name": "wmh", "threshold": 0.75, "min_lesion_mm3": 20}
    assert record["settings"]["backend"] == "onnxruntime"
    assert len(record["input_sha256"]) == 64


def test_no_lesion_is_an_empty_mask_and_zero_millilitres(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii", lesions=0)
    assert infer()[0] == 0
    mask = np.asarray(nib.load(tmp_path / "out" / "a_label-WMH_mask.nii.gz").dataobj)
    assert mask.shape == (24, 30, 6)
    assert not mask.any()


def test_thresholds_of_the_user_are_used_and_recorded(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    # The cube of 640 mm³ is too small for a minimum of 641.
    assert infer("--threshold", "0.9", "--min-lesion-mm3", "641")[0] == 0
    record = json.loads((tmp_path / "out" / "a_label-WMH_mask.json").read_text())
    assert record["settings"]["output"] == {"name": "wmh", "threshold": 0.9, "min_lesion_mm3": 641}
    assert record["lesion_count"] == 0


@pytest.mark.parametrize(
    "options",
    [
        *[("--threshold", value) for value in ("0", "1.5", "nan")],
        *[("--min-lesion-mm3", value) for value in ("-1", "nan", "inf")],
    ],
)
def test_thresholds_out_of_range_stop_before_anything(tmp_path, infer, options):
    write_head(tmp_path / "scans" / "a.nii")
    status, _, errors = infer(*options)
    assert status == 2
    assert options[0] in errors
    assert not (tmp_path / "out").exists()


def test_one_bad_scan_is_reported_and_the_others_are_segmented(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    (tmp_path / "scans" / "b.nii").write_bytes(b"")
    whole = write_head(tmp_path / "scans" / "c.nii.gz").read_bytes()
    (tmp_path / "scans" / "c.nii.gz").write_bytes(whole[: len(whole) // 2])
    write_head(tmp_path / "scans" / "d.nii")
    status, said, errors = infer()
    assert status == 1
    assert "b.nii: is empty" in errors
    assert "c.nii.gz: is truncated" in errors
    assert "Traceback" not in errors
    assert "2 scans finished" in said
    with (tmp_path / "out" / FAILURES_NAME).open(encoding="utf-8") as file:
        failures = {row["scan"]: row["reason"] for row in csv.DictReader(file)}
    assert failures.keys() == {"b.nii", "c.nii.gz"}
    assert "b.nii: is empty" in failures["b.nii"]
    (tmp_path / "scans" / "b.nii").unlink()
    (tmp_path / "scans" / "c.nii.gz").write_bytes(whole)
    assert infer()[0] == 0
    assert not (tmp_path / "out" / FAILURES_NAME).exists()
    assert [row["scan"] for row in rows_of(tmp_path / "out")] == ["a.nii", "c.nii.gz", "d.nii"]


def test_a_name_too_long_for_its_results_fails_alone(tmp_path, infer):
    # The longest name of a file is 255 bytes, and `_label-WMH_mask.json` is longer than `.nii.gz`.
    long = "a" * 241 + ".nii.gz"
    write_head(tmp_path / "scans" / long)
    for seed, name in enumerate("bc"):
        write_head(tmp_path / "scans" / f"{name}.nii", seed=seed)
    status, _, errors = infer()
    assert status == 1
    (line, summary) = errors.splitlines()
    assert line.startswith(f"error: {tmp_path / 'scans' / long}: ")
    assert "(File name too long). Shorten the name" in line
    assert summary.startswith("error: 1 scan failed")
    assert [row["scan"] for row in rows_of(tmp_path / "out")] == ["b.nii", "c.nii"]
    with (tmp_path / "out" / FAILURES_NAME).open(encoding="utf-8") as file:
        assert [row["scan"] for row in csv.DictReader(file)] == [long]


def test_a_result_folder_without_permission_fails_its_scans_only(tmp_path, infer, monkeypatch):
    write_head(tmp_path / "scans" / "closed" / "a.nii")
    write_head(tmp_path / "scans" / "open" / "b.nii")
    stat = Path.stat

    def deny(path, **options):  # as the system does for a folder of another user
        if "closed" in path.parts and "out" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", deny)
    status, _, errors = infer()
    assert status == 1
    assert "closed/a.nii: cannot be processed (Permission denied). Check the perm" in errors
    assert "Traceback" not in errors
    assert [row["scan"] for row in rows_of(tmp_path / "out")] == ["open/b.nii"]


def test_a_link_to_itself_fails_alone(tmp_path, infer):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.nii").symlink_to("a.nii")
    write_head(tmp_path / "scans" / "b.nii")
    status, _, errors = infer()
    assert status == 1
    assert "a.nii: cannot be read (Too many levels of symbolic links). Remove the link" in errors
    assert [row["scan"] for row in rows_of(tmp_path / "out")] == ["b.nii"]


def test_a_scan_with_little_contrast_on_a_large_offset_does_not_end_the_run(tmp_path, infer):
    # Float32 has steps of 0.0625 at one million: 160 gray levels.
    path = write_head(tmp_path / "scans" / "a.nii")
    image = nib.load(path)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32) / 30 + 1e6, image.affine), path)
    write_head(tmp_path / "scans" / "b.nii")
    status, _, errors = infer()
    assert (status, errors) == (0, "")
    assert len(rows_of(tmp_path / "out")) == 2


def test_the_first_failure_can_be_the_end(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    (tmp_path / "scans" / "b.nii").write_bytes(b"")
    for number in range(20):
        write_head(tmp_path / "scans" / f"c{number:02}.nii")
    status, said, errors = infer("--fail-fast")
    assert status == 1
    assert "b.nii: is empty" in errors
    finished = len(rows_of(tmp_path / "out"))
    assert 1 <= finished < 20
    assert f"{22 - 1 - finished} scans not begun: fix the error above, or run without" in said


def read_record(out):
    return json.loads((out / "a_label-WMH_mask.json").read_text())


def test_one_view_has_its_own_threshold(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    assert infer("--tta", "none")[0] == 0
    record = read_record(tmp_path / "out")
    assert record["settings"]["tta"] == "none"
    assert record["settings"]["output"]["threshold"] == 0.8
    assert (record["slices_executed"], record["slices_in_all_views"]) == (6, 0)
    assert record["lesion_count"] == 1


def test_adaptive_looks_again_where_something_may_be(tmp_path, infer):
    # The cube lies in slices 2 and 3; elsewhere the head is even, and gives a probability of 0.5.
    write_head(tmp_path / "scans" / "a.nii")
    assert infer("--tta", "adaptive", "--probability", out=tmp_path / "adaptive")[0] == 0
    assert infer("--probability", out=tmp_path / "full")[0] == 0
    record = read_record(tmp_path / "adaptive")
    assert record["settings"]["tta"] == "adaptive"
    assert (record["slices_executed"], record["slices_in_all_views"]) == (6, 2)
    assert record["settings"]["empty_slice_threshold"] == 0.6
    assert read_record(tmp_path / "full")["settings"]["empty_slice_threshold"] is None
    assert read_record(tmp_path / "full")["slices_in_all_views"] == 6
    found = [
        np.asarray(nib.load(tmp_path / how / "a_label-WMH_probseg.nii.gz").dataobj)
        for how in ("adaptive", "full")
    ]
    np.testing.assert_allclose(*found, atol=1e-6)


def test_a_lower_threshold_lowers_what_counts_as_empty(tmp_path, infer, toy_bundle):
    # 0.6 belongs to the threshold of 0.75: at half of that it is 0.3, and no slice is below.
    write_head(tmp_path / "scans" / "a.nii")
    assert infer("--tta", "adaptive", "--threshold", "0.375")[0] == 0
    record = read_record(tmp_path / "out")
    assert record["settings"]["empty_slice_threshold"] == pytest.approx(0.3)
    assert record["slices_in_all_views"] == 6


def test_another_empty_slice_threshold_is_another_result(tmp_path, infer, toy_bundle):
    write_head(tmp_path / "scans" / "a.nii")
    assert infer("--tta", "adaptive")[0] == 0
    path = toy_bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["calibration"]["empty_slice_thresholds"] = [0.4]
    path.write_text(json.dumps(manifest))
    status, _, errors = infer("--tta", "adaptive")
    assert (status, "empty_slice_threshold (0.6, now 0.4)" in errors) == (2, True)
    manifest["calibration"]["empty_slice_thresholds"] = [0.4, 0.4]
    path.write_text(json.dumps(manifest))
    status, _, errors = infer("--tta", "adaptive")
    assert (status, "2 empty_slice_thresholds, expected 1" in errors) == (2, True)


def test_adaptive_needs_a_bundle_with_an_empty_slice_threshold(tmp_path, infer, toy_bundle):
    manifest = json.loads((toy_bundle / "manifest.json").read_text())
    manifest["calibration"]["empty_slice_thresholds"] = []
    (toy_bundle / "manifest.json").write_text(json.dumps(manifest))
    write_head(tmp_path / "scans" / "a.nii")
    status, _, errors = infer("--tta", "adaptive")
    assert (status, "is not calibrated for adaptive views" in errors) == (2, True)
    assert infer("--tta", "sometimes")[0] == 2


def test_batches_change_no_mask(tmp_path, infer):
    for name in "abc":
        write_head(tmp_path / "scans" / f"{name}.nii", seed=ord(name))
    infer("--probability")
    infer("--probability", "--batch", "4", out=tmp_path / "batches")
    for name in "abc":
        one, four = (
            np.asarray(nib.load(tmp_path / out / f"{name}_label-WMH_probseg.nii.gz").dataobj)
            for out in ("out", "batches")
        )
        np.testing.assert_allclose(one, four, atol=1e-6)


def test_nothing_usable_is_status_two(tmp_path, infer):
    (tmp_path / "scans").mkdir()
    status, _, errors = infer()
    assert (status, "contains no NIfTI scan" in errors) == (2, True)
    (tmp_path / "scans" / "a.nii").write_text("hello")
    status, _, errors = infer()
    assert (status, "a.nii: is not a NIfTI image" in errors) == (2, True)


def test_a_missing_bundle_and_a_missing_source_are_status_two(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    status, _, errors = infer(bundle=tmp_path / "none")
    assert (status, "is not a bundle folder" in errors) == (2, True)
    status, _, errors = infer(source=tmp_path / "none")
    assert (status, "does not exist" in errors) == (2, True)


def test_an_output_folder_that_cannot_be_made_is_status_two(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    (tmp_path / "file").write_text("in the way")
    status, _, errors = infer(out=tmp_path / "file" / "out")
    assert status == 2
    assert "cannot be created" in errors


def test_finished_results_are_kept(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    infer()
    mask = tmp_path / "out" / "a_label-WMH_mask.nii.gz"
    before = mask.stat().st_mtime_ns
    status, said, _ = infer()
    assert status == 0
    assert "1 scan finished, 1 of them by earlier or other runs" in said
    assert "a.nii: WMH" not in said  # the run that made it printed it
    assert mask.stat().st_mtime_ns == before
    assert len(rows_of(tmp_path / "out")) == 1


@pytest.mark.parametrize("change", ["settings", "input"])
def test_results_of_other_settings_or_input_need_overwrite(tmp_path, infer, change):
    scan = write_head(tmp_path / "scans" / "a.nii")
    infer()
    options = ("--threshold", "0.9") if change == "settings" else ()
    if change == "input":
        write_head(scan, seed=1)
    status, _, errors = infer(*options)
    assert status == 2
    assert "Use --overwrite" in errors
    if change == "settings":
        made = r"has 1 result with other settings: threshold \([\d.]+, now 0\.9\)"
        assert re.search(made, errors)
    assert infer(*options, "--overwrite")[0] == 0
    assert infer(*options)[0] == 0


def test_a_folder_made_with_other_settings_is_refused_once_and_before_anything_is_added(
    tmp_path, infer
):
    for name in "ab":
        write_head(tmp_path / "scans" / f"{name}.nii")
    infer()
    write_head(tmp_path / "scans" / "c.nii")
    status, _, errors = infer("--threshold", "0.9")
    assert status == 2
    assert errors.count("error:") == 1
    assert "has 2 results with other settings: threshold" in errors
    assert not list((tmp_path / "out").glob("c_*"))


def test_a_single_result_of_other_settings_fails_alone(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    infer()
    write_head(tmp_path / "scans" / "b.nii")
    (tmp_path / "scans" / "a.nii").rename(tmp_path / "a.nii")
    infer("--threshold", "0.9")  # nothing of b was there to differ
    (tmp_path / "a.nii").rename(tmp_path / "scans" / "a.nii")
    status, _, errors = infer("--threshold", "0.9")
    assert status == 1
    assert "a.nii: has a result with other settings" in errors


def test_a_folder_that_cannot_be_read_is_a_failure_like_a_scan(tmp_path, infer, monkeypatch):
    write_head(tmp_path / "scans" / "a.nii")
    walk = os.walk

    def sealed(folder, onerror=None, followlinks=False):
        if onerror:
            onerror(PermissionError(13, "Permission denied", str(Path(folder, "sealed"))))
        yield from walk(folder, onerror=onerror, followlinks=followlinks)

    monkeypatch.setattr("os.walk", sealed)
    status, _, errors = infer()
    assert status == 1
    assert "sealed: is a folder that cannot be read. Check its permissions" in errors
    assert "1 scan failed" in errors
    table = (tmp_path / "out" / "failures.csv").read_text(encoding="utf-8")
    assert "sealed," in table
    assert len(rows_of(tmp_path / "out")) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name themselves")
def test_a_name_that_is_not_utf_8_fails_alone(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    write_head(tmp_path / "scans" / os.fsdecode(b"M\xfcller.nii"))
    status, _, errors = infer()
    assert status == 1
    assert "ller.nii: has a name that is not UTF-8. Rename it" in errors
    table = (tmp_path / "out" / "failures.csv").read_text(encoding="utf-8")
    assert "M\\udcfcller.nii," in table
    assert len(rows_of(tmp_path / "out")) == 1


def test_a_backend_that_does_not_exist_is_refused_before_the_folder_is_searched(tmp_path, infer):
    status, said, errors = infer("--backend", "cuda")
    assert (status, said) == (2, "")
    assert "there is no backend cuda" in errors


def test_a_result_without_its_record_is_not_finished(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    infer()
    (tmp_path / "out" / "a_label-WMH_mask.json").unlink()
    _, said, _ = infer()
    assert "kept" not in said
    assert (tmp_path / "out" / "a_label-WMH_mask.json").exists()


def test_the_probability_map_is_added_when_asked_for_later(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    infer()
    assert infer("--probability")[0] == 0
    assert (tmp_path / "out" / "a_label-WMH_probseg.nii.gz").exists()


def test_regions_of_a_model_without_them_are_refused(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    status, _, errors = infer("--regions")
    assert status == 2
    assert "predicts no regions of the brain" in errors
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_two_scans_of_one_name_are_both_refused_and_named(tmp_path, infer):
    write_head(tmp_path / "scans" / "a_FLAIR.nii")
    write_head(tmp_path / "scans" / "a_FLAIR.nii.gz")
    write_head(tmp_path / "scans" / "b_FLAIR.nii.gz")
    status, _, errors = infer()
    assert status == 1
    assert errors.count("Rename one of them") == 2
    assert [row["scan"] for row in rows_of(tmp_path / "out")] == ["b_FLAIR.nii.gz"]


def test_a_mask_does_not_depend_on_what_else_is_in_the_folder(tmp_path, infer):
    scan = write_head(tmp_path / "scans" / "a.nii")
    for name in "bcd":
        write_head(tmp_path / "scans" / f"{name}.nii", lesions=3, seed=ord(name))
    infer("--probability")
    infer("--probability", source=scan, out=tmp_path / "alone")
    for name in ("mask", "probseg"):
        together, alone = (
            tmp_path / out / f"a_label-WMH_{name}.nii.gz" for out in ("out", "alone")
        )
        assert together.read_bytes() == alone.read_bytes()


def test_a_write_that_fails_leaves_nothing_under_a_final_name(tmp_path, infer, monkeypatch):
    write_head(tmp_path / "scans" / "a.nii")
    write_head(tmp_path / "scans" / "b.nii")
    original = gzip.GzipFile.write
    failures = iter([True])

    def fail_once(self, data):
        if next(failures, False):
            raise OSError(28, "No space left on device")
        return original(self, data)

    monkeypatch.setattr(gzip.GzipFile, "write", fail_once)
    status, _, errors = infer()
    assert status == 1
    (failed,) = re.findall(r"([ab])_label-WMH_mask.nii.gz: cannot be written \(No space", errors)
    left = [path.name for path in (tmp_path / "out").iterdir()]
    assert not [name for name in left if name.startswith(f"{failed}_")]
    assert not [path for path in (tmp_path / "out").iterdir() if is_temporary(path)]


def test_a_full_disk_fails_every_scan_with_its_reason_and_the_tables_as_far_as_they_go(
    tmp_path, infer, monkeypatch
):
    for name in "abc":
        write_head(tmp_path / "scans" / f"{name}.nii")
    assert infer(source=write_head(tmp_path / "one" / "z.nii").parent)[0] == 0

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wmh_runtime.files.atomic._flush_to_disk", full)
    status, _, errors = infer()
    assert status == 2
    for name in "abc":
        assert f"{name}_label-WMH_mask.nii.gz: cannot be written (No space left" in errors
    assert "report.html: cannot be written (No space left on device). Free some space" in errors
    assert [row["scan"] for row in rows_of(tmp_path / "out")] == ["z.nii"]  # as it was
    monkeypatch.undo()
    assert infer()[0] == 0
    assert len(rows_of(tmp_path / "out")) == 4


def test_a_scan_that_vanishes_fails_alone(tmp_path, infer, monkeypatch):
    from wmh_runtime.cohort import run

    for name in "abc":
        write_head(tmp_path / "scans" / f"{name}.nii")
    begin = run.remove_temporary_files

    def meanwhile(folder, **options):
        (tmp_path / "scans" / "b.nii").unlink(missing_ok=True)
        begin(folder, **options)

    monkeypatch.setattr(run, "remove_temporary_files", meanwhile)
    status, _, errors = infer()
    assert status == 1
    assert "b.nii" in errors
    assert [row["scan"] for row in rows_of(tmp_path / "out")] == ["a.nii", "c.nii"]


def test_temporary_files_of_a_killed_run_are_removed_whatever_process_has_its_number(
    tmp_path, infer
):
    write_head(tmp_path / "scans" / "site" / "a.nii")
    killed = this_process()._replace(number=1, start=0)  # now, 1 is another process
    left = tmp_path / "out" / f"{TEMPORARY_PREFIX}{killed}-0123abcd.csv"
    left.parent.mkdir()
    left.write_text("half")
    assert infer()[0] == 0
    assert not left.exists()


def test_several_outputs_get_a_file_and_a_row_each(tmp_path, infer):
    bundle = write_toy_bundle(tmp_path / "two", outputs=("wmh", "stroke"))
    write_head(tmp_path / "scans" / "a.nii")
    assert infer(bundle=bundle)[0] == 0
    assert (tmp_path / "out" / "a_label-STROKE_mask.nii.gz").exists()
    assert [row["output"] for row in rows_of(tmp_path / "out")] == ["stroke", "wmh"]


def test_three_planes_are_announced_and_recorded_and_thick_slices_are_warned_of(tmp_path, infer):
    bundle = write_toy_bundle(tmp_path / "planes", planes=("axial", "sagittal", "coronal"))
    # Voxels of 2.5 mm, and of 4 × 4 × 7 mm.
    for name, affine in (("a", np.diag([-2.5, -2.5, 2.5, 1])), ("b", np.diag([-4, -4, 7, 1]))):
        write_head(tmp_path / "scans" / f"{name}_FLAIR.nii.gz", affine=affine)
    status, said, errors = infer(bundle=bundle)
    assert status == 0
    assert (
        "it sees axial, sagittal and coronal slices: about 3 times the work of one plane with cubic"
        in said
    )
    records = [
        json.loads((tmp_path / "out" / f"{name}_label-WMH_mask.json").read_text()) for name in "ab"
    ]
    assert [record["planes"] for record in records] == [
        ["axial", "sagittal", "coronal"],
        ["axial"],
    ]
    # 24 × 30 × 6 voxels, of which the head has 21 × 25 × 6; narrow slices at its edge are left out.
    assert [record["slices"] for record in records] == [60, 6]
    assert 6 < records[0]["slices_executed"] <= 21 + 25 + 6
    assert [record["lesion_count"] for record in records] == [1, 1]
    only = "segmented in axial slices only"
    assert [any(only in line for line in record["warnings"]) for record in records] == [False, True]
    assert errors.count(only) == 1


def test_without_a_bundle_the_model_of_this_package_is_used(tmp_path, run_command):
    write_head(tmp_path / "scans" / "a.nii")
    status, said, errors = run_command(main, tmp_path / "scans", tmp_path / "out", "--tta", "none")
    assert status == 0, errors
    manifest = load_bundle("base").manifest
    assert f"model base, id {manifest.model_id}\n" in said
    (row,) = rows_of(tmp_path / "out")
    assert row["bundle"] == "base"
    assert float(row["brain_ml"]) > 0


def test_scans_without_a_channel_that_the_bundle_needs_are_refused_at_once(tmp_path, infer):
    bundle = write_toy_bundle(tmp_path / "two", channels=("flair", "t1"))
    for name in ("sub-1_FLAIR", "sub-1_T1w", "sub-2_FLAIR", "sub-3_FLAIR"):
        write_head(tmp_path / "scans" / f"{name}.nii")
    status, _, errors = infer(bundle=bundle)
    assert status == 2
    (line,) = errors.splitlines()
    assert "has no T1 image for 2 of 3 scans, such as sub-2_FLAIR.nii. Give a pattern" in line
    assert not (tmp_path / "out").exists()


def test_each_scan_is_segmented_with_the_t1_of_its_visit(tmp_path, infer):
    bundle = write_toy_bundle(tmp_path / "two", channels=("flair", "t1"))
    for session in (1, 2):
        for seed, name in enumerate(("FLAIR", "T1w", "T2w")):
            path = f"sub-1/ses-{session}/anat/sub-1_ses-{session}_{name}.nii"
            write_head(tmp_path / "scans" / path, seed=10 * session + seed)
    status, said, errors = infer(bundle=bundle)
    # These heads are noise, each of them another one.
    assert (status, errors.count("warning"), errors.count("the similarity of")) == (0, 2, 2), errors
    assert "2 scans to segment" in said
    assert "skipped 2 files (2 T2 images)" in said  # T1 images are not skipped, they are used
    result = tmp_path / "out" / "sub-1" / "ses-2" / "anat" / "sub-1_ses-2_label-WMH_mask.json"
    sidecar = read_json(result)
    t1 = tmp_path / "scans" / "sub-1" / "ses-2" / "anat" / "sub-1_ses-2_T1w.nii"
    assert sidecar["Sources"] == ["sub-1_ses-2_FLAIR.nii", "sub-1_ses-2_T1w.nii"]
    assert sidecar["channels"]["t1"]["sha256"] == hashlib.sha256(t1.read_bytes()).hexdigest()
    assert [row["channels"] for row in rows_of(tmp_path / "out")] == ["flair+t1"] * 2
    # The same command keeps the results; another T1 is another input.
    assert "2 scans finished, 2 of them by earlier or other runs" in infer(bundle=bundle)[1]
    write_head(t1, seed=99)
    status, _, errors = infer(bundle=bundle)
    assert status == 1
    assert "has a result of another input" in errors


def test_interchangeable_channels_may_be_missing(tmp_path, infer):
    bundle = write_toy_bundle(tmp_path / "two", channels=("flair", "t1"), interchangeable=True)
    for name in ("sub-1_FLAIR", "sub-1_T1w", "sub-2_FLAIR", "sub-3_T1w"):
        write_head(tmp_path / "scans" / f"{name}.nii", seed=int(name[4]))
    status, _, errors = infer(bundle=bundle)
    assert status == 1
    assert "sub-1_T1w.nii: has the same voxels as sub-1_FLAIR.nii. Give one image of each" in errors
    write_head(tmp_path / "scans" / "sub-1_T1w.nii", seed=11)
    status, said, errors = infer(bundle=bundle)
    assert status == 0, errors
    assert "1 of FLAIR and T1, 1 of FLAIR only, 1 of T1 only" in said
    assert {row["scan"]: row["channels"] for row in rows_of(tmp_path / "out")} == {
        "sub-1_FLAIR.nii": "flair+t1",
        "sub-2_FLAIR.nii": "flair",
        "sub-3_T1w.nii": "t1",
    }
    warned = {
        row["scan"]: "there is no FLAIR" in row["warnings"] for row in rows_of(tmp_path / "out")
    }
    assert warned == {"sub-1_FLAIR.nii": False, "sub-2_FLAIR.nii": False, "sub-3_T1w.nii": True}
    assert (tmp_path / "out" / "sub-3_label-WMH_mask.nii.gz").exists()


def test_registration_is_recorded_and_is_another_setting(tmp_path, infer):
    bundle = write_toy_bundle(tmp_path / "two", channels=("flair", "t1"))
    for seed, name in enumerate(("sub-1_FLAIR", "sub-1_T1w")):
        write_head(tmp_path / "scans" / f"{name}.nii", seed=seed)
    status, said, errors = infer("--register", bundle=bundle)
    assert status == 0, errors
    assert re.search(r"lesions?; T1 (moved by \d+\.\d mm and \d+\.\d°|not moved)", said)
    sidecar = read_json(tmp_path / "out" / "sub-1_label-WMH_mask.json")
    assert sidecar["settings"]["registered"]
    moved = sidecar["channels"]["t1"]["registration"]
    assert np.shape(moved["matrix"]) == (4, 4)
    assert moved["is_applied"] <= (moved["similarity_after"] >= moved["similarity_before"])
    assert sidecar["channels"]["flair"]["registration"] is None
    status, _, errors = infer(bundle=bundle)
    assert (status, "registered (True, now False)" in errors) == (2, True)


def test_a_single_image_cannot_be_registered(tmp_path, infer, monkeypatch):
    write_head(tmp_path / "scans" / "sub-1_FLAIR.nii")
    status, _, errors = infer("--register")
    assert (status, "--register: needs two images of a head" in errors) == (2, True)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    status, _, errors = infer("--register")
    assert (status, 'pip install "wmh-lora[itk]"' in errors) == (2, True)


def test_regions_may_come_from_another_bundle(tmp_path, infer, toy_bundle):
    regions = write_toy_bundle(tmp_path / "regions", regions=("brain",))
    write_head(tmp_path / "scans" / "sub-1_FLAIR.nii", lesions=2)
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert infer(out=alone)[0] == 0
    status, _, errors = infer("--regions-bundle", regions, "--regions", out=together)
    assert status == 0, errors
    before, after = (read_json(out / "sub-1_label-WMH_mask.json") for out in (alone, together))
    assert before["percent_of_brain"] is None
    assert after["volume_ml"] == before["volume_ml"]
    brain_ml = after["regions_ml"]["brain"]
    assert after["percent_of_brain"] == pytest.approx(100 * 2 * CUBE_ML / brain_ml, abs=1e-4)
    assert after["settings"]["model_id"] == before["settings"]["model_id"]
    assert after["settings"]["regions_model_id"] == load_bundle(regions).manifest.model_id
    assert (together / "sub-1_space-orig_seg-brain_dseg.nii.gz").exists()
    manifest = load_bundle(regions).manifest.model_copy(update={"warning": "Of made-up heads"})
    (regions / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    status, _, errors = infer("--regions-bundle", regions, out=tmp_path / "warned")
    assert (status, "sub-1_FLAIR.nii: regions: Of made-up heads" in errors) == (0, True)
    status, _, errors = infer("--regions-bundle", toy_bundle, out=tmp_path / "none")
    assert (status, "predicts no regions of the brain" in errors) == (2, True)
    t1 = write_toy_bundle(tmp_path / "t1", channels=("t1",), regions=("brain",))
    status, _, errors = infer("--regions-bundle", t1, out=tmp_path / "none")
    assert (status, "needs T1, which the bundle for lesions does not" in errors) == (2, True)
    status, _, errors = infer("--regions-bundle", regions, bundle=regions, out=tmp_path / "none")
    assert (status, "as the bundle for lesions and as that for regions" in errors) == (2, True)


def test_a_scan_without_the_image_that_the_regions_need_fails_alone(tmp_path, infer):
    either = write_toy_bundle(tmp_path / "two", channels=("flair", "t1"), interchangeable=True)
    regions = write_toy_bundle(tmp_path / "regions", regions=("brain",))
    for seed, name in enumerate(("sub-1_FLAIR", "sub-2_T1w")):
        write_head(tmp_path / "scans" / f"{name}.nii", seed=seed)
    status, said, errors = infer("--regions-bundle", regions, bundle=either)
    assert status == 1
    assert "1 of FLAIR only, 1 of T1 only" in said
    assert "sub-2_T1w.nii: has no FLAIR, which the bundle for regions needs. Give" in errors
    assert "sub-1_FLAIR.nii: WMH" in said


def test_a_bundle_of_regions_only_goes_with_a_bundle_for_lesions(tmp_path, infer):
    regions = write_toy_bundle(tmp_path / "regions", outputs=(), regions=("brain",))
    write_head(tmp_path / "scans" / "sub-1_FLAIR.nii", lesions=2)
    status, _, errors = infer(bundle=regions)
    assert (status, "predicts regions only" in errors) == (2, True)
    assert not (tmp_path / "out" / "volumes.csv").exists()
    status, _, errors = infer("--regions-bundle", regions)
    assert status == 0, errors
    sidecar = read_json(tmp_path / "out" / "sub-1_label-WMH_mask.json")
    assert sidecar["volume_ml"] == pytest.approx(2 * CUBE_ML, abs=1e-4)
    assert sidecar["regions_ml"]["brain"] > sidecar["volume_ml"]


def write_atlas(path, halves=(5, 9)):
    """An atlas on the grid of `write_head`: one number in front, another one behind."""
    front, back = halves
    numbers = np.full((24, 30, 6), front, np.int16)
    numbers[:, 8:] = back
    affine = np.diag([-4.0, -4.0, 5.0, 1.0])
    affine[:3, 3] = (47, 61, -12)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(numbers, affine), path)
    return path


def test_lesions_are_located_in_the_atlas_of_each_scan(tmp_path, infer):
    # Lesions are at rows 6 and 7, 10 and 11, 14 and 15: one in front, two behind.
    write_head(tmp_path / "scans" / "sub-1_ses-2_FLAIR.nii", lesions=3)
    write_atlas(tmp_path / "fs" / "sub-1" / "ses-2" / "lobes.nii.gz")
    names = tmp_path / "names.tsv"
    names.write_text("index\tname\n5\tfrontal\n")
    template = str(tmp_path / "fs" / "{subject}" / "{session}" / "lobes.nii.gz")
    options = ("--atlas", template, "--atlas-names", names)
    status, _, errors = infer(*options)
    assert status == 0, errors
    assert "covers" not in errors
    out = tmp_path / "out"
    with (out / "sub-1_ses-2_label-WMH_regions.tsv").open(encoding="utf-8") as file:
        rows = {row["region"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert {name: row["lesion_count"] for name, row in rows.items()} == {
        "frontal": "1",
        "9": "2",  # a number without a name
        "none": "0",
    }
    assert float(rows["frontal"]["lesion_ml"]) == pytest.approx(CUBE_ML)
    region_ml = 24 * 8 * 6 * 0.08
    assert float(rows["frontal"]["lesion_percent"]) == pytest.approx(
        100 * CUBE_ML / region_ml, abs=1e-4
    )
    lesions = read_json(out / "sub-1_ses-2_label-WMH_mask.json")["lesions"]
    assert sorted(one["atlas_region"] for one in lesions) == ["9", "9", "frontal"]
    assert {one["atlas_share"] for one in lesions} == {1.0}
    with (out / "regions.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["atlas.frontal.lesion_count"] == "1"
    # The same command keeps the result; another atlas is measured anew.
    assert "1 scan finished, 1 of them by earlier or other runs" in infer(*options)[1]
    write_atlas(tmp_path / "fs" / "sub-1" / "ses-2" / "lobes.nii.gz", halves=(5, 5))
    assert "1 scan finished." in infer(*options)[1]
    lesions = read_json(out / "sub-1_ses-2_label-WMH_mask.json")["lesions"]
    assert {one["atlas_region"] for one in lesions} == {"frontal"}


def test_another_transform_or_other_names_are_measured_anew(tmp_path, infer):
    write_head(tmp_path / "scans" / "sub-1_FLAIR.nii", lesions=3)
    atlas = write_atlas(tmp_path / "lobes.nii.gz", halves=(2, 41))
    matrix, names = tmp_path / "matrix.txt", tmp_path / "names.tsv"
    matrix.write_text("1 0 0 80\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    sidecar = tmp_path / "out" / "sub-1_label-WMH_mask.json"

    def found(*options):
        status, said, errors = infer("--atlas", atlas, *options)
        assert (status, "1 scan finished." in said) == (0, True), errors
        return [one["atlas_region"] for one in read_json(sidecar)["lesions"]]

    assert found("--atlas-transform", matrix) == ["none"] * 3
    assert sorted(found()) == [  # the two numbers of white matter, and no other: aseg
        "Left-Cerebral-White-Matter",
        *["Right-Cerebral-White-Matter"] * 2,
    ]
    names.write_text("index\tname\n2\tlobe\n41\tlobe\n")
    assert sorted(found("--atlas-names", names)) == ["lobe-2", "lobe-41", "lobe-41"]
    write_atlas(atlas, halves=(2, 41))
    image = nib.load(atlas)
    numbers = np.asarray(image.dataobj).copy()
    numbers[0, 0, 0] = 1  # not of aseg: an atlas of tracts or lobes
    nib.save(nib.Nifti1Image(numbers, image.affine), atlas)
    assert sorted(found()) == ["2", "41", "41"]


def test_the_atlas_is_written_on_the_grid_of_the_scan(tmp_path, infer):
    write_head(tmp_path / "scans" / "sub-1_FLAIR.nii", lesions=2)
    atlas = write_atlas(tmp_path / "lobes.nii.gz", halves=(5, 1009))
    names = tmp_path / "names.tsv"
    names.write_text("index\tname\n5\tfrontal\n")
    atlas_options = ("--atlas", atlas, "--atlas-names", names)
    assert infer(*atlas_options)[0] == 0
    written = tmp_path / "out" / "sub-1_space-orig_seg-atlas_dseg.nii.gz"
    assert not written.exists()  # only on request
    status, _, errors = infer(*atlas_options, "--regions")  # of a bundle without regions
    assert status == 0, errors
    image = nib.load(written)
    assert np.array_equal(image.affine, nib.load(tmp_path / "scans" / "sub-1_FLAIR.nii").affine)
    assert np.array_equal(image.dataobj, nib.load(atlas).dataobj)  # here on the same grid
    table = written.with_name(written.name.replace(".nii.gz", ".tsv")).read_text()
    assert table.splitlines() == ["index\tname", "5\tfrontal", "1009\t1009"]
    assert not list((tmp_path / "out").glob("*_seg-brain_*"))
    assert infer("--regions")[0] == 2  # the bundle has none, and there is no atlas


def test_an_atlas_of_another_program_is_not_replaced(tmp_path, infer):
    write_head(tmp_path / "scans" / "sub-1_FLAIR.nii")
    atlas = write_atlas(tmp_path / "lobes.nii.gz")
    foreign = write_atlas(tmp_path / "out" / "sub-1_space-orig_seg-atlas_dseg.nii.gz")
    before = foreign.read_bytes()
    assert infer("--atlas", atlas)[0] == 0
    assert foreign.read_bytes() == before
    status, _, errors = infer("--atlas", atlas, "--regions")
    assert (status, "would replace regions that this program did not write" in errors) == (2, True)
    regions = write_toy_bundle(tmp_path / "regions", regions=("brain",))
    status, _, errors = infer("--regions", "--overwrite", bundle=regions)  # writes no atlas
    assert status == 0, errors
    assert foreign.read_bytes() == before


def test_an_atlas_that_is_missing_or_elsewhere_is_said(tmp_path, infer):
    for name in ("sub-1", "sub-2"):
        write_head(tmp_path / "scans" / f"{name}_FLAIR.nii", seed=int(name[4]))
    atlas = write_atlas(tmp_path / "sub-1.nii.gz")
    status, _, errors = infer("--atlas", tmp_path / "{subject}.nii.gz")
    assert status == 2
    assert f"--atlas: is missing for 1 of 2 scans, such as {tmp_path / 'sub-2.nii.gz'}" in errors
    matrix = tmp_path / "matrix.txt"
    matrix.write_text("1 0 0 300\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    status, _, errors = infer("--atlas", atlas, "--atlas-transform", matrix)
    assert status == 2
    assert "sub-1.nii.gz: has no region in sub-1_FLAIR.nii. Check that it is in the" in errors
    status, _, errors = infer("--atlas-transform", matrix, out=tmp_path / "out2")
    assert (status, "needs --atlas" in errors) == (2, True)
    missing = ("--atlas-transform", tmp_path / "no.txt")
    status, _, errors = infer("--atlas", atlas, *missing, out=tmp_path / "out2")
    assert (status, "--atlas-transform: is missing for 2 of 2 scans" in errors) == (2, True)
    missing = ("--atlas-names", tmp_path / "no.tsv")
    status, _, errors = infer("--atlas", atlas, *missing, out=tmp_path / "out2")
    assert (status, "(No such file or directory). Check path and permissions." in errors) == (
        2,
        True,
    )


def test_patterns_and_tables_say_which_images_belong_together(tmp_path, infer):
    bundle = write_toy_bundle(tmp_path / "two", channels=("flair", "t1"))
    for seed, name in enumerate(("a/one.nii", "a/two.nii", "a/three.nii")):
        write_head(tmp_path / "scans" / name, seed=seed)
    status, _, errors = infer("--pattern", "one.nii", "--t1", "two.nii", bundle=bundle)
    assert status == 0, errors
    ((row),) = rows_of(tmp_path / "out")
    assert (row["scan"], row["channels"]) == ("a/one.nii", "flair+t1")
    table = tmp_path / "pairs.csv"
    table.write_text("flair,t1,age\nscans/a/two.nii,scans/a/three.nii,71\n")
    status, _, errors = infer(bundle=bundle, source=table, out=tmp_path / "out2")
    assert status == 0, errors
    ((row),) = rows_of(tmp_path / "out2")
    assert row["scan"] == "scans/a/two.nii"
    status, _, errors = infer("--t1", "two.nii", out=tmp_path / "out3")
    assert status == 2
    assert "is given, but the bundle takes FLAIR only" in errors


def test_a_folder_that_cannot_be_written_is_reported_before_any_work(tmp_path, infer, monkeypatch):
    import tempfile

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    write_head(tmp_path / "scans" / "a.nii")
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    status, said, errors = infer()
    assert status == 2
    assert "cannot be written to (Permission denied)" in errors
    assert "mL" not in said


def test_the_sidecar_names_the_versions_that_made_it(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    infer()
    record = json.loads((tmp_path / "out" / "a_label-WMH_mask.json").read_text())
    assert {"python", "wmh-lora", "numpy", "nibabel", "onnxruntime"} <= record["versions"].keys()


def test_the_first_ctrl_c_finishes_the_running_scans_and_says_how_to_continue(
    tmp_path, infer, monkeypatch
):
    from wmh_runtime.cohort.case import images as case_images

    for number in range(30):
        write_head(tmp_path / "scans" / f"{number:02}.nii")
    read = case_images.read_scan

    def interrupted(path):
        if path.name == "01.nii":
            signal.raise_signal(signal.SIGINT)
        return read(path)

    monkeypatch.setattr(case_images, "read_scan", interrupted)
    status, _, errors = infer()
    assert status == 130
    finished = len(rows_of(tmp_path / "out"))
    assert 2 <= finished < 30
    assert f"stopped after {finished} of 30 scans. The same command continues." in errors
    assert re.search(r"(finishing \d+ scans?|stopping); press Ctrl-C again", errors)
    monkeypatch.undo()
    assert infer()[0] == 0
    assert len(rows_of(tmp_path / "out")) == 30


@pytest.mark.parametrize(
    "arguments", [("scans", ""), ("", "out"), ("scans", "out", "--device", "")]
)
def test_an_empty_argument_is_an_error_not_the_current_folder(run_command, arguments):
    status, _, errors = run_command(main, *arguments)
    assert status == 2
    assert errors == "error: an argument is empty. Check the variables of your script.\n"


def test_foreign_masks_are_not_replaced_without_the_overwrite_option(tmp_path, infer):
    scan = write_head(tmp_path / "scans" / "a.nii.gz")
    drawn = tmp_path / "out" / "a_label-WMH_mask.nii.gz"
    drawn.parent.mkdir()
    drawn.write_bytes(scan.read_bytes())
    status, _, errors = infer()
    assert status == 2
    assert "that this program did not write" in errors
    assert "Use --overwrite" in errors
    assert drawn.read_bytes() == scan.read_bytes()
    assert infer("--overwrite")[0] == 0
    assert drawn.read_bytes() != scan.read_bytes()


def test_the_table_tells_of_every_finished_result_whatever_this_run_did(tmp_path, infer):
    for name in "ab":
        write_head(tmp_path / "scans" / f"{name}.nii")
    infer()
    infer("--overwrite", source=tmp_path / "scans" / "a.nii")
    assert [row["scan"] for row in rows_of(tmp_path / "out")] == ["a.nii", "b.nii"]
    infer("--threshold", "0.9")  # the folder is refused: what is finished stays
    assert [row["threshold"] for row in rows_of(tmp_path / "out")] == ["0.75", "0.75"]


OF_BRAIN = (
    *("percent_of_brain", "brain_ml", "ventricles_ml"),
    *("periventricular_ml", "periventricular_count", "deep_ml", "deep_count"),
    *("juxtacortical_ml", "juxtacortical_count", "infratentorial_ml", "infratentorial_count"),
    *("periventricular_3mm_ml", "periventricular_3mm_count"),
)


def test_the_row_of_a_result_says_what_was_found_and_how(tmp_path, infer):
    write_head(tmp_path / "scans" / "site" / "sub-7_ses-2_FLAIR.nii.gz", lesions=2)
    infer("--tta", "none", "--min-lesion-mm3", "30")
    ((row),) = rows_of(tmp_path / "out")
    sidecar = read_json(tmp_path / "out" / "site" / "sub-7_ses-2_label-WMH_mask.json")
    assert row == {
        "scan": "site/sub-7_ses-2_FLAIR.nii.gz",
        "participant_id": "sub-7",
        "session": "ses-2",
        "run": "",
        "contrast": "FLAIR",
        "channels": "flair",
        "duplicate_of": "",
        "voxel_size_mm": "4x4x5",
        "mask_source": "model",
        "output": "wmh",
        "volume_ml": f"{2 * CUBE_ML:.4f}",
        "lesion_count": "2",
        "largest_lesion_mm3": "640",
        "volume_z": "",
        **dict.fromkeys(OF_BRAIN, ""),  # this network predicts no regions
        "quality_flags": "",
        **{name: row[name] for name in QUALITY},  # test_quality.py has numbers
        "threshold": "0.8",
        "min_lesion_mm3": "30",
        "bundle": "toy",
        "model_id": sidecar["settings"]["model_id"],
        "tta": "none",
        "precision": "fp32",
        "backend": "onnxruntime",
        "device": "cpu",
        "version": version("wmh-lora"),
        "input_sha256": sidecar["input_sha256"],
        "mask": "site/sub-7_ses-2_label-WMH_mask.nii.gz",
        "review": "",
        "reviewer": "",
        "review_note": "",
        "warnings": sidecar["warnings"][0] if sidecar["warnings"] else "",
        "model_warnings": "",
    }


def test_the_row_of_a_result_says_whether_the_name_of_the_scan_says_its_contrast(tmp_path, infer):
    for name in ("patient1.nii", "FLAIR/patient2.nii"):
        write_head(tmp_path / "scans" / name)
    infer("--pattern", "*.nii")
    contrasts = {row["scan"]: row["contrast"] for row in rows_of(tmp_path / "out")}
    assert contrasts == {"patient1.nii": "not stated", "FLAIR/patient2.nii": "FLAIR"}


def test_the_row_of_a_mask_that_was_changed_by_hand_says_so(tmp_path, infer):
    for name in "abc":
        write_head(tmp_path / "scans" / f"{name}.nii")
    infer()
    mask = tmp_path / "out" / "b_label-WMH_mask.nii.gz"
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), mask)
    _, _, errors = infer()
    warned = "1 mask changed or removed since written, such as b_label-WMH_mask.nii.gz: the table"
    assert warned in errors
    changed = "the mask was changed after it was written; volume and lesions are those of the mask"
    rows = rows_of(tmp_path / "out")
    assert [changed in row["warnings"] for row in rows] == [False, True, False]
    mask.unlink()
    infer("--overwrite", source=tmp_path / "scans" / "a.nii")
    row = rows_of(tmp_path / "out")[1]
    assert "the mask cannot be read (No such file or directory)" in row["warnings"]


def test_copies_of_one_scan_are_named_so_that_none_is_counted_twice(tmp_path, infer):
    for name, lesions in (("a", 1), ("copy_of_a", 1), ("b", 2)):
        write_head(tmp_path / "scans" / f"{name}.nii", lesions=lesions)
    _, _, errors = infer()
    assert "2 scans are copies of one another, such as a.nii: the table has a row" in errors
    told = {row["scan"]: row["warnings"] for row in rows_of(tmp_path / "out")}
    assert "the same file as copy_of_a.nii: count it once" in told["a.nii"]
    assert "the same file as a.nii: count it once" in told["copy_of_a.nii"]
    assert "same file" not in told["b.nii"]


def test_a_mask_that_was_changed_by_hand_is_not_replaced_unless_asked(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    infer()
    mask = tmp_path / "out" / "a_label-WMH_mask.nii.gz"
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), mask)
    changed = mask.read_bytes()
    (tmp_path / "out" / "a_label-WMH_qc.png").unlink()
    for options in ((), ("--probability",)):  # each has to segment the scan again
        status, _, errors = infer(*options)
        assert (status, mask.read_bytes()) == (2, changed)
        assert "has a mask that was changed by hand, a_label-WMH_mask.nii.gz" in errors
    assert infer("--overwrite")[0] == 0
    assert mask.read_bytes() != changed


@pytest.mark.parametrize(
    "name",
    [
        *("label-WMH_mask.nii.gz", "label-WMH_qc.png", "label-WMH_slices.json"),
        *("space-orig_desc-lesions_dseg.tsv", "label-WMH_probseg.json"),
    ],
)
def test_a_scan_that_lacks_a_file_is_segmented_again(tmp_path, infer, name):
    write_head(tmp_path / "scans" / "a.nii")
    infer("--probability")
    (tmp_path / "out" / f"a_{name}").unlink()
    assert "by earlier or other runs" not in infer("--probability")[1]
    assert (tmp_path / "out" / f"a_{name}").is_file()
    assert "1 of them by earlier or other runs" in infer("--probability")[1]


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_scan_that_failed_in_this_run_is_in_one_table_only(tmp_path, infer):
    for name in "abc":
        write_head(tmp_path / "scans" / f"{name}.nii")
    infer()
    write_head(tmp_path / "scans" / "b.nii", seed=1)  # another input than that of its result
    status, _, errors = infer()
    assert status == 1
    assert "b.nii: has a result of another input" in errors
    assert [row["scan"] for row in rows_of(tmp_path / "out")] == ["a.nii", "c.nii"]
    with (tmp_path / "out" / FAILURES_NAME).open(encoding="utf-8") as file:
        assert [row["scan"] for row in csv.DictReader(file)] == ["b.nii"]


def test_a_table_of_an_earlier_run_does_not_outlive_its_results(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    infer()
    for path in (tmp_path / "out").glob("a_*"):
        path.unlink()
    (tmp_path / "scans" / "a.nii").write_bytes(b"")
    assert infer()[0] == 2
    assert not (tmp_path / "out" / VOLUMES_NAME).exists()
    assert (tmp_path / "out" / FAILURES_NAME).exists()


def make_unreadable(path):
    content = read_json(path)
    path.write_text(json.dumps(content | {"schema_version": 1}), encoding="utf-8")


def test_results_that_this_version_cannot_read_are_counted(tmp_path, infer):
    for name in "abc":
        write_head(tmp_path / "scans" / f"{name}.nii")
    infer()
    for name in "ab":
        make_unreadable(tmp_path / "out" / f"{name}_label-WMH_mask.json")
    (tmp_path / "out" / "x_mask.json").write_text('{"Type": "Lesion"}')  # of another program
    status, _, errors = infer(source=tmp_path / "scans" / "c.nii")
    assert status == 0
    assert "has 2 results that this version cannot read, such as a_label-WMH_mask.json" in errors
    assert [row["scan"] for row in rows_of(tmp_path / "out")] == ["c.nii"]
    assert infer("--overwrite")[0] == 0
    assert len(rows_of(tmp_path / "out")) == 3


def test_a_folder_of_results_that_this_version_cannot_read_is_refused_before_anything(
    tmp_path, infer
):
    for name in "ab":
        write_head(tmp_path / "scans" / f"{name}.nii")
    infer()
    for name in "ab":
        make_unreadable(tmp_path / "out" / f"{name}_label-WMH_mask.json")
    write_head(tmp_path / "scans" / "c.nii")
    status, _, errors = infer()
    assert status == 2
    assert "has 2 results that this version cannot read" in errors
    assert "Use --overwrite" in errors
    assert not list((tmp_path / "out").glob("c_*"))


@pytest.mark.parametrize("content", ['{"schema_version": 2}', "[" * 100_000, "\x00", '{"a": 1'])
def test_a_damaged_record_does_not_end_the_run(tmp_path, infer, content):
    write_head(tmp_path / "scans" / "a.nii")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b_label-WMH_mask.json").write_text(content)
    status, _, errors = infer()
    assert status == 0
    assert "has 1 result that this version cannot read, such as b_label-WMH_mask.json" in errors


def test_pipes_among_the_results_do_not_block_the_run(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    write_head(tmp_path / "scans" / "b.nii")
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "a_label-WMH_mask.nii.gz")
    os.mkfifo(tmp_path / "out" / "c_label-WMH_mask.json")
    write_head(tmp_path / "scans" / "d.nii")
    os.mkfifo(tmp_path / "out" / "d_label-WMH_mask.json")
    status, _, errors = infer()
    assert status == 1
    assert "d.nii: has a result that this version cannot read" in errors
    assert "a.nii: would replace files that this program did not write" in errors
    assert [row["scan"] for row in rows_of(tmp_path / "out")] == ["b.nii"]


def test_the_other_file_of_a_pair_belongs_to_the_input(tmp_path, infer):
    write_head(tmp_path / "a.nii")
    image = nib.load(tmp_path / "a.nii")
    nib.save(nib.Nifti1Pair(image.get_fdata(dtype=np.float32), image.affine), tmp_path / "a.img")
    assert infer(source=tmp_path / "a.hdr")[0] == 0
    assert "by earlier or other runs" in infer(source=tmp_path / "a.hdr")[1]
    nib.save(
        nib.Nifti1Pair(image.get_fdata(dtype=np.float32) + 1, image.affine), tmp_path / "a.img"
    )
    assert "has a result of another input" in infer(source=tmp_path / "a.hdr")[2]


def test_a_table_that_cannot_be_replaced_is_reported_before_any_work(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    (tmp_path / "out" / VOLUMES_NAME).mkdir(parents=True)  # a folder cannot be written to either
    status, said, errors = infer()
    assert (status, "volumes.csv: cannot be replaced" in errors) == (2, True)
    assert "mL" not in said


def test_a_scan_too_large_for_memory_fails_alone(tmp_path, infer, monkeypatch):
    from wmh_runtime.cohort.case import processor as case_processor

    write_head(tmp_path / "scans" / "a.nii")
    write_head(tmp_path / "scans" / "b.nii")
    preprocess = case_processor.preprocess

    def too_large(channels, preprocessing):
        if channels[0].path.name == "a.nii":
            raise MemoryError
        return preprocess(channels, preprocessing)

    monkeypatch.setattr(case_processor, "preprocess", too_large)
    status, said, errors = infer()
    assert (status, "a.nii: does not fit into memory" in errors) == (1, True)
    assert "b.nii: WMH" in said


def test_names_with_brackets_backslashes_and_colons_are_shown_as_they_are(tmp_path, infer):
    write_head(tmp_path / "scans" / "[b] :smile: [a.nii")
    (tmp_path / "scans" / "back\\[red]slash.nii").write_bytes(b"")
    status, said, errors = infer()
    assert status == 1
    assert "[b] :smile: [a.nii: WMH" in said
    assert "back\\[red]slash.nii: is empty" in errors


def test_every_result_carries_the_warning_of_its_model(tmp_path, infer, toy_bundle):
    manifest = json.loads((toy_bundle / "manifest.json").read_text())
    manifest["warning"] = "Not for patients"
    (toy_bundle / "manifest.json").write_text(json.dumps(manifest))
    write_head(tmp_path / "scans" / "a.nii")
    status, _, errors = infer()
    assert status == 0
    assert errors.count("Not for patients") == 1
    record = json.loads((tmp_path / "out" / "a_label-WMH_mask.json").read_text())
    assert (record["warnings"], record["model_warnings"]) == ([], ["Not for patients"])
    (row,) = rows_of(tmp_path / "out")
    assert (row["warnings"], row["model_warnings"]) == ("", "Not for patients")
    made_with = ("tta", "precision", "backend")
    assert [row[name] for name in made_with] == [record["settings"][name] for name in made_with]


def test_skipped_files_are_summarized_and_listed_with_reasons(tmp_path, infer):
    write_head(tmp_path / "scans" / "a_FLAIR.nii")
    for name in ("a_T1w.nii", "a_lesion.nii", "sub/b_mask.nii", "notes.txt"):
        (tmp_path / "scans" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "scans" / name).touch()
    status, said, _ = infer()
    table = tmp_path / "out" / SKIPPED_NAME
    assert status == 0
    assert "skipped 3 files (2 masks, 1 T1 image), see skipped.csv in the results" in said
    assert table.read_text().splitlines() == [
        "path,reason",
        'a_T1w.nii,"T1, by its name or folder"',
        'a_lesion.nii,"a mask or a probability map, by its name or folder"',
        'sub/b_mask.nii,"a mask or a probability map, by its name or folder"',
    ]
    infer(source=tmp_path / "scans" / "a_FLAIR.nii")
    assert not table.exists()


def test_a_pattern_decides_where_names_do_not(tmp_path, infer):
    for name in ("a_FLAIR.nii", "a_T2.nii", "b_T2.nii"):
        write_head(tmp_path / "scans" / name)
    assert infer("--pattern", "*_T2.nii")[0] == 0
    assert [row["scan"] for row in rows_of(tmp_path / "out")] == ["a_T2.nii", "b_T2.nii"]
    status, _, errors = infer("--pattern", "*_T3.nii")
    assert (status, "contains no image that matches *_T3.nii" in errors) == (2, True)
    status, _, errors = infer("--pattern", ".")
    assert (status, "--pattern: is empty" in errors) == (2, True)


def test_a_run_with_a_pattern_is_resumed_in_an_output_folder_within_the_source(tmp_path, infer):
    # The pattern matches the results of the first run, too.
    write_head(tmp_path / "scans" / "a_FLAIR.nii.gz")
    for _ in range(2):
        assert infer("--pattern", "*.nii.gz", out=tmp_path / "scans" / "out")[0] == 0
    assert [row["scan"] for row in rows_of(tmp_path / "scans" / "out")] == ["a_FLAIR.nii.gz"]
    write_head(tmp_path / "scans" / "out" / "b_FLAIR.nii.gz")
    status, _, errors = infer("--pattern", "*.nii.gz", out=tmp_path / "scans" / "out")
    assert (status, "would mix the results with the scans" in errors) == (2, True)


@pytest.mark.parametrize("labels", [2, 6])
def test_a_mask_is_a_mask_whatever_its_name(tmp_path, infer, labels):
    write_head(tmp_path / "scans" / "a_FLAIR.nii")
    image = nib.load(write_head(tmp_path / "scans" / "b_FLAIR.nii"))
    voxels = np.zeros(image.shape, np.int16)
    voxels[4:20, 6:26] = (np.arange(20) % labels)[:, None]  # as large as a head
    nib.save(nib.Nifti1Image(voxels, image.affine), tmp_path / "scans" / "b_FLAIR.nii")
    status, _, errors = infer()
    assert status == 1
    assert "b_FLAIR.nii: is a mask or a label map: all of its voxels are 0, 1" in errors
    assert [row["scan"] for row in rows_of(tmp_path / "out")] == ["a_FLAIR.nii"]


def test_an_output_folder_named_like_an_image_is_refused(tmp_path, infer):
    scan = write_head(tmp_path / "scans" / "a.nii.gz")
    status, _, errors = infer(source=scan, out=tmp_path / "mask.nii.gz")
    assert status == 2
    assert "mask.nii.gz: has the name of an image, expected a folder" in errors
    assert not (tmp_path / "mask.nii.gz").exists()


@pytest.mark.parametrize("out", [".", "..", "linked"])
def test_results_never_get_among_the_scans(tmp_path, infer, out):
    # `..` contains the source, and scans/scans/a.nii would have its result in scans.
    write_head(tmp_path / "scans" / "scans" / "a.nii")
    (tmp_path / "scans" / "linked").symlink_to(tmp_path / "scans")
    status, _, errors = infer(out=tmp_path / "scans" / out)
    assert status == 2
    assert "would mix the results with the scans. Choose another folder" in errors
    assert sorted(path.name for path in (tmp_path / "scans").iterdir()) == ["linked", "scans"]


def test_an_output_folder_that_holds_scans_is_refused(tmp_path, infer):
    # The output folder is not searched: the second subject would be left out without a word.
    for subject in ("sub-1", "sub-2"):
        write_head(tmp_path / "scans" / subject / "FLAIR.nii")
    status, _, errors = infer(out=tmp_path / "scans" / "sub-2")
    assert status == 2
    assert "sub-2: as output folder would mix the results with the scans" in errors


def test_results_may_go_inside_or_above_the_scans(tmp_path, infer):
    write_head(tmp_path / "scans" / "a.nii")
    assert infer(out=tmp_path)[0] == 0
    assert infer(out=tmp_path / "scans" / "results")[0] == 0
    assert infer(out=tmp_path / "scans" / "results")[0] == 0
    assert len(rows_of(tmp_path / "scans" / "results")) == 1


def test_two_links_to_one_folder_have_two_results(tmp_path, infer):
    write_head(tmp_path / "scans" / "sub-01" / "FLAIR.nii")
    (tmp_path / "scans" / "sub-02").symlink_to("sub-01")
    assert infer()[0] == 0
    scans = [row["scan"] for row in rows_of(tmp_path / "out")]
    assert scans == ["sub-01/FLAIR.nii", "sub-02/FLAIR.nii"]
