"""The accuracy in every backend and precision."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.toys import write_annotated_heads, write_toy_bundle
from wmh_bench import accuracy
from wmh_bench.accuracy import (
    AnnotatedData,
    held_out_phantoms,
    mean_dice,
    measure_accuracy,
    temporary_phantoms,
)
from wmh_bench.cli import main
from wmh_bench.intensity_threshold import best_threshold_dice
from wmh_bench.results import read_result
from wmh_bench.selection import select_backend_precisions
from wmh_runtime.bundle.bundle import CARD_NAME, load_bundle
from wmh_runtime.errors import DeviceLostError, InputError, InterruptionError

REPOSITORY = Path(__file__).resolve().parents[2]
PUBLISHED = REPOSITORY / "benchmarks" / "results" / "epyc-2-cores" / "accuracy-demo.json"


def nothing(*_):
    pass


def lesion_and_shell():
    """A lesion of 8 voxels at 100 in tissue at 50, and a shell of 40 voxels at 200."""
    image = np.full((20, 20, 20), 50, np.float32)
    image += np.random.default_rng(0).random(image.shape, np.float32)
    reference = np.zeros(image.shape, bool)
    reference[5:7, 5:7, 5:7] = True
    image[reference] = 100
    image[15, 2:12, 2:6] = 200
    return image, reference


def test_the_component_filter_removes_a_brighter_but_larger_component():
    # 8 voxels of 5 mm³ are 40 mm³; the shell is 200 mm³, above the largest size of 100.
    image, reference = lesion_and_shell()
    assert best_threshold_dice(image, reference, voxel_volume_mm3=5.0) == 1


def test_a_component_that_touches_the_lesion_is_not_removed():
    # The shell, moved onto the lesion, makes one component of 8 + 40 voxels: 2 · 8 / (48 + 8).
    image, reference = lesion_and_shell()
    image[15, 2:12, 2:6] = 50
    image[7, 2:12, 2:6] = 200
    assert best_threshold_dice(image, reference, 5.0) == pytest.approx(2 * 8 / (48 + 8))


def test_the_twelve_phantoms_cover_sites_and_loads():
    plans = held_out_phantoms()
    assert len(plans) == 12
    assert [plan.site for plan in plans].count("amsterdam") == 4
    loads_ml = sorted(plan.load_ml for plan in plans)
    assert (loads_ml[0], loads_ml[-1]) == (1, 40)


def test_a_bundle_for_other_outputs_is_refused(tmp_path):
    bundle = load_bundle(write_toy_bundle(tmp_path / "b", outputs=("wmh", "stroke")))
    data = AnnotatedData("none", tmp_path, tmp_path)
    with pytest.raises(InputError, match="not a FLAIR-to-WMH bundle"):
        measure_accuracy(bundle, data, [], "full", nothing, nothing)


@pytest.fixture
def heads(tmp_path):
    """Three heads with one, two and three cubes as lesions, which the toy network segments."""
    return write_annotated_heads(tmp_path / "data", 3)


def halve(mask: Path):
    """Remove the lesions in the lower half of the slices from a reference mask."""
    image = nib.load(mask)
    voxels = np.asarray(image.dataobj).copy()
    voxels[:, :, :3] = 0
    nib.save(nib.Nifti1Image(voxels, image.affine), mask)


def test_masks_are_scored_in_every_backend(toy_bundle, heads):
    halve(heads / "derivatives" / "reference" / "sub-01_label-WMH_mask.nii.gz")
    pairs = [("onnxruntime", "fp32"), ("openvino", "fp32"), ("tensorrt", "fp16")]
    done, rows = [], []
    measured = measure_accuracy(
        *(load_bundle(toy_bundle), AnnotatedData("cubes", heads, heads), pairs, "full"),
        on_scan=lambda: done.append(1),
        on_result=lambda so_far: rows.append(len(so_far.rows)),
    )
    assert (measured.scans, measured.data) == (3, "cubes")
    assert len(done) == 6  # three heads in two backends
    assert rows == [1, 2, 2]
    assert "is not installed" in measured.skipped["tensorrt"]
    for row in measured.rows:
        # Names and sites of patients' scans are not in the result.
        # Each cube is in two slices. The reference of one head has only half of them, so its Dice
        # is 2 · 1 / (2 + 1). The volumes of the toy network are a little larger than the cubes.
        dice = {case.name: case.dice for case in row.cases}
        assert dice["2"] == pytest.approx(2 / 3, abs=0.1)
        assert dice["1"] == pytest.approx(dice["3"], abs=0.1)
        assert row.metrics["dice"].mean == pytest.approx(mean_dice(row), abs=1e-3)
        assert row.metrics["dice"].count == 3
        assert row.volume_bias_ml > 0
    assert measured.threshold_dice == {}  # only for phantoms


def test_scans_without_a_reference_are_counted(toy_bundle, heads):
    (heads / "derivatives" / "reference" / "sub-01_label-WMH_mask.nii.gz").unlink()
    measured = measure_accuracy(
        *(load_bundle(toy_bundle), AnnotatedData("cubes", heads, heads), [("onnxruntime", "fp32")]),
        *("full", nothing, nothing),
    )
    (row,) = measured.rows
    assert len(row.cases) == 2
    assert measured.skipped == {"scans without a reference": "1 scan"}


def test_references_without_a_scan_are_counted(toy_bundle, heads, run_command):
    (heads / "sub-01_FLAIR.nii.gz").unlink()
    options = ("--backend", "onnxruntime", "--precision", "fp32")
    status, output, errors = run_command(main, "accuracy", toy_bundle, heads, *options)
    assert status == 0, errors
    assert "2 scans" in output
    assert "skipped references without a scan: 1 reference" in output


def test_names_that_do_not_match_are_an_error_before_a_scan_is_segmented(
    toy_bundle, heads, monkeypatch
):
    for mask in (heads / "derivatives" / "reference").glob("*.nii.gz"):
        mask.rename(mask.with_name(f"sub-other{mask.name}"))
    monkeypatch.setattr(accuracy, "run", None)  # would fail if it were called
    data = AnnotatedData("cubes", heads, heads)
    call = (load_bundle(toy_bundle), data, [("onnxruntime", "fp32")], "full", nothing, nothing)
    with pytest.raises(InputError) as raised:
        measure_accuracy(*call)
    assert str(raised.value) == (
        f"{heads}: contains no reference mask whose name is that of a scan. Name a mask as its"
        " scan: sub-1_label-WMH_mask.nii.gz for sub-1_FLAIR.nii.gz."
    )


@pytest.mark.parametrize("error", [InterruptionError("stopped"), DeviceLostError("is lost")])
def test_an_error_that_ends_a_run_ends_the_measurement(toy_bundle, heads, monkeypatch, error):
    def end(*_):
        raise error

    monkeypatch.setattr(accuracy, "run", end)
    pairs = [("onnxruntime", "fp32"), ("openvino", "fp32")]
    with pytest.raises(type(error)):
        measure_accuracy(
            load_bundle(toy_bundle),
            AnnotatedData("cubes", heads, heads),
            pairs,
            "full",
            nothing,
            nothing,
        )


@pytest.mark.exhaustive
def test_the_demo_bundle_is_far_better_than_a_threshold_on_a_phantom_it_never_saw():
    (plan,) = [plan for plan in held_out_phantoms() if plan.load_ml == 40]
    with temporary_phantoms([plan], nothing) as data:
        measured = measure_accuracy(
            load_bundle("demo"), data, [("onnxruntime", "fp32")], "none", nothing, nothing
        )
    (row,) = measured.rows
    (case,) = row.cases
    assert case.site == plan.site
    assert case.dice > 0.8 > 0.7 > measured.threshold_dice[case.name]
    assert case.volume_ml == pytest.approx(case.reference_ml, rel=0.2)
    assert row.metrics["dice"].low is None  # one subject has no interval


def test_the_published_accuracy_is_that_of_the_demo_bundle_and_good_enough():
    published, bundle = read_result(PUBLISHED), load_bundle("demo")
    row = published.row("onnxruntime", "fp32")
    assert mean_dice(row) >= 0.80
    assert np.mean(list(published.threshold_dice.values())) <= 0.60
    card = (bundle.folder / CARD_NAME).read_text(encoding="utf-8")
    assert f"mean Dice {mean_dice(row):.3f}" in card


def test_the_command_prints_the_accuracy_that_it_writes(toy_bundle, heads, tmp_path, run_command):
    results = tmp_path / "r.json"
    call = (main, "accuracy", toy_bundle, heads, "--backend", "onnxruntime", "--precision", "fp32")
    status, output, errors = run_command(*call, "--results", results)
    assert status == 0, errors
    (row,) = read_result(results).rows
    assert f"{row.metrics['dice'].mean:.4g}" in output
    assert "3 scans: annotated scans" in output
    assert str(tmp_path) not in results.read_text()


def test_the_card_has_the_accuracy_by_load(toy_bundle, heads, run_command):
    options = ("--backend", "onnxruntime", "--precision", "fp32", "--card")
    status, _, errors = run_command(main, "accuracy", toy_bundle, heads, *options)
    assert status == 0, errors
    measured = load_bundle(toy_bundle).manifest.accuracy
    (row,) = measured.by_load  # a cube has 0.64 mL
    assert (row.load, row.scans, row.dice) == ("under 2", 3, measured.mean_dice)
    card = (toy_bundle / CARD_NAME).read_text(encoding="utf-8")
    assert f"| under 2 | 3 | {row.dice:.3f} | " in card
    assert f" | {row.volume_bias_ml:+.2f} |" in card


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--card", "--backend", "openvino"), "--card: needs onnxruntime in fp32"),
        (("--backend", "rtx", "--precision", "fp32"), "nothing is left to measure"),
        (("--precision", "int8", "--backend", "onnxruntime"), "nothing could be measured"),
    ],
)
def test_options_without_anything_to_measure_are_refused(
    toy_bundle, heads, run_command, options, message
):
    data = () if "--card" in options else (heads,)
    status, _, errors = run_command(main, "accuracy", toy_bundle, *data, *options)
    assert (status, message in errors) == (2, True), errors


def test_backends_are_paired_with_the_precisions_that_they_have():
    assert select_backend_precisions(["onnxruntime"], []) == [
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
    ]
    assert ("openvino", "bf16") in select_backend_precisions([], ["bf16"])
    assert ("onnxruntime", "bf16") not in select_backend_precisions([], ["bf16"])
