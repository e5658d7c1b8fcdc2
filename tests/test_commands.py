"""The commands in the order of a user: train, calibrate, export, segment."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from tests.bundle_fixtures import cached_phantoms
from tests.training_toys import SMALL_RECIPE, write_toml
from wmh_bench.cli import main as bench
from wmh_export.cli import main as export
from wmh_runtime.cli.evaluate import main as evaluate
from wmh_runtime.cli.infer.main import main as infer
from wmh_runtime.phantom.cohort import plan_cohort, write_cohort
from wmh_train.checkpoint import load_metadata
from wmh_train.cli import main as train

__all__ = ["cached_phantoms"]

REPOSITORY = Path(__file__).resolve().parents[1]


def test_from_scans_to_masks_with_five_commands(tmp_path, run_command):
    schedule = SMALL_RECIPE["schedule"] | {"epochs": 12, "restart_epochs": 11.5}
    recipe = write_toml(tmp_path / "small.toml", SMALL_RECIPE | {"schedule": schedule})
    data, run, bundle = (tmp_path / name for name in ("data", "run", "bundle"))
    with coarse_phantoms():  # the network has to find lesions in those of the parity check
        write_cohort(plan_cohort(6, 5, (20, 40)), data, workers=2, on_written=lambda: None)

    status, output, _ = run_command(train, "fit", recipe, "--data", data, "--out", run)
    assert status == 0
    assert "epoch 12/12" in output
    status, _, errors = run_command(export, "build", run, "--out", bundle)
    assert (status, "is not calibrated" in errors) == (2, True)
    status, output, _ = run_command(train, "calibrate", run, "--data", data)
    assert status == 0
    assert "mean Dice" in output
    status, output, errors = run_command(
        export, "build", run, "--out", bundle, "--without-int8", "--with-checkpoint"
    )
    assert status == 0, errors
    assert "mask Dice 1.0000" in output
    assert f"Next: wmh-infer SCANS RESULTS --bundle {bundle}\n" in output
    status, output, errors = run_command(export, "verify", bundle)
    assert status == 0, errors
    assert "comparisons within tolerance" in output
    status, _, errors = run_command(infer, data, tmp_path / "out", "--bundle", bundle)
    assert status == 0, errors
    mask = nib.load(tmp_path / "out" / "sub-5002_label-WMH_mask.nii.gz")
    assert np.asarray(mask.dataobj).any()


UNET_RECIPE = SMALL_RECIPE | {
    "name": "unet",
    "regions": ["brain", "ventricles", "cortex", "posterior"],
    "preprocessing": {
        "pixel_size_mm": 4.0,
        "size_px": 64,
        "normalization": "white-matter",
        "context_slices": 1,
    },
    "network": {"unet": {"widths": [12, 24]}},
    "loss": {"focal_weight": 4.0, "scale_weights": []},
    "schedule": SMALL_RECIPE["schedule"] | {"epochs": 12, "restart_epochs": 11.5},
}


def write_regions(data):
    """Write masks of regions for phantoms: what is bright, and three parts of it."""
    for path in data.glob("*_FLAIR.nii.gz"):
        image = nib.load(path)
        voxels = np.asarray(image.dataobj)
        brain = (voxels > 0.5 * np.percentile(voxels, 98)).astype(np.uint8)
        masks = {"BRAIN": brain}
        for axis, name in enumerate(("VENTRICLES", "POSTERIOR", "CORTEX")):
            lower = np.arange(voxels.shape[axis]) < 3 * voxels.shape[axis] // 8
            masks[name] = brain * lower.reshape([-1 if i == axis else 1 for i in range(3)])
        for name, mask in masks.items():
            file = f"{path.name.removesuffix('_FLAIR.nii.gz')}_label-{name}_mask.nii.gz"
            nib.save(
                nib.Nifti1Image(mask.astype(np.uint8), image.affine),
                data / "derivatives" / "reference" / file,
            )


@pytest.mark.exhaustive
def test_from_scans_to_volumes_by_location_with_regions(tmp_path, run_command):
    recipe = write_toml(tmp_path / "unet.toml", UNET_RECIPE)
    schedule = UNET_RECIPE["schedule"] | {"epochs": 1, "restart_epochs": 1}
    short = write_toml(tmp_path / "short.toml", UNET_RECIPE | {"schedule": schedule})
    data, run, bundle = (tmp_path / name for name in ("data", "run", "bundle"))
    with coarse_phantoms():
        write_cohort(plan_cohort(4, 5, (20, 40)), data, workers=2, on_written=lambda: None)
    write_regions(data)
    # 1: such a short training leaves probabilities near the threshold, so FP16 is not exported.
    for accepted, command in (
        ((0,), (train, "fit", recipe, "--data", data, "--out", run)),
        ((0,), (train, "calibrate", run, "--data", data)),
        ((0, 1), (export, "build", run, "--out", bundle, "--without-int8", "--with-checkpoint")),
        ((0,), (export, "verify", bundle)),
        ((0,), (train, "fit", short, "--from", bundle, "--data", data, "--out", tmp_path / "own")),
    ):
        status, _, errors = run_command(*command)
        assert status in accepted, errors
    status, printed, errors = run_command(infer, data, tmp_path / "out", "--bundle", bundle)
    assert status == 0, errors
    of_brain = (
        r"WMH [\d.]+ mL in \d+ lesions?; [\d.]+ % of the brain; periventricular [\d.]+, deep "
    )
    assert len(re.findall(of_brain, printed)) == 4
    assert not list((tmp_path / "out").glob("*_seg-brain_dseg.*"))
    status, _, errors = run_command(infer, data, tmp_path / "out", "--bundle", bundle, "--regions")
    assert status == 0, errors
    table = (tmp_path / "out" / "sub-5002_space-orig_seg-brain_dseg.tsv").read_text().splitlines()
    assert table == ["index\tname", "1\tbrain", "2\tventricles", "3\tcortex", "4\tposterior"]
    with (tmp_path / "out" / "sub-5002_label-WMH_regions.tsv").open(encoding="utf-8") as file:
        loads = list(csv.DictReader(file, delimiter="\t"))
    sidecar = (tmp_path / "out" / "sub-5002_label-WMH_mask.json").read_text(encoding="utf-8")
    total_ml = json.loads(sidecar)["volume_ml"]
    for scheme in ("location_10mm", "location_3mm", "brain"):
        found = [one for one in loads if (one["scheme"], one["side"]) == (scheme, "both")]
        scheme_ml = sum(float(one["lesion_ml"]) for one in found)
        assert scheme_ml == pytest.approx(total_ml, abs=1e-3)
    assert (tmp_path / "out" / "regions.csv").exists()
    regions = nib.load(tmp_path / "out" / "sub-5002_space-orig_seg-brain_dseg.nii.gz")
    assert regions.shape == nib.load(data / "sub-5002_FLAIR.nii.gz").shape
    assert set(np.unique(regions.dataobj)) <= {0, 1, 2, 3, 4}
    assert np.count_nonzero(regions.dataobj)
    out = tmp_path / "out"
    status, _, errors = run_command(infer, data, out, "--bundle", bundle, "--probability")
    assert status == 0, errors
    assert (
        len(list(out.glob("*_probseg.nii.gz")))
        == len(list(out.glob("*_seg-brain_dseg.nii.gz")))
        == 4
    )
    foreign = out / "sub-5002_space-orig_seg-brain_dseg.nii.gz"
    nib.save(nib.Nifti1Image(np.ones(regions.shape, np.uint8), regions.affine), foreign)
    status, _, errors = run_command(infer, data, out, "--bundle", bundle, "--regions")
    assert (status, "would replace regions that this program did not write" in errors) == (1, True)
    assert (np.asarray(nib.load(foreign).dataobj) == 1).all()
    with (tmp_path / "out" / "volumes.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    locations = ("periventricular", "deep", "juxtacortical", "infratentorial")
    for row in rows:
        volume_ml = float(row["volume_ml"])
        by_location = sum(float(row[f"{name}_ml"]) for name in locations)
        assert by_location == pytest.approx(volume_ml, abs=1e-3)
        share = 100 * volume_ml / float(row["brain_ml"])
        assert float(row["percent_of_brain"]) == pytest.approx(share, rel=1e-3)
    assert len(rows) == 3  # without the scan whose regions were exchanged
    first, fine_tuned = (load_metadata(folder) for folder in (run, tmp_path / "own"))
    assert first.provenance.details["initial_weights"] == "random"
    assert fine_tuned.provenance.details["initial_weights"] == str(bundle)
    # Measured: 1.61 in the first epoch, and 1.04 in that of the training that continues it.
    losses = [
        next(csv.DictReader((folder / "history.csv").read_text().splitlines()))["loss_total"]
        for folder in (run, tmp_path / "own")
    ]
    assert float(losses[1]) < 0.8 * float(losses[0])


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


BASE_INSTALL = """
import contextlib, importlib, io, json, sys
for name in ("torch", "segment_anything", "peft", "accelerate", "monai", "safetensors", "onnx",
             "onnxscript", "onnxruntime", "openvino", "cuda", "tensorrt", "tensorrt_rtx", "scipy",
             "matplotlib", "tensorboard"):
    sys.modules[name] = None  # importing it raises ImportError
results = []
for launcher, function, *arguments in json.load(sys.stdin):
    sys.argv = ["wmh", *arguments]
    status, out, err = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            getattr(importlib.import_module(launcher), function)()
        except SystemExit as stop:
            status = stop.code or 0
    results.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(results))
"""
INFER, PHANTOM, EVALUATE = (
    ("wmh_runtime.cli.launcher", function) for function in ("infer", "phantom", "evaluate")
)
TRAIN, EXPORT, BENCH = (
    (f"{package}.launcher", "main") for package in ("wmh_train", "wmh_export", "wmh_bench")
)


def run_with_base_install(commands, folder):
    """Run commands where no optional library is installed; return status, output and errors."""
    done = subprocess.run(
        [sys.executable, "-c", BASE_INSTALL],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return json.loads(done.stdout)


def test_help_needs_no_optional_library(tmp_path):
    subcommands = [
        (EVALUATE, "compare"),
        *((TRAIN, name) for name in ("fit", "calibrate", "cross-validate", "describe", "recipe")),
        *((EXPORT, name) for name in ("build", "engines", "verify", "inspect")),
        *((BENCH, name) for name in ("latency", "throughput", "accuracy", "baseline", "compare")),
    ]
    helps = [(*command, "--help") for command in (INFER, PHANTOM, EVALUATE, TRAIN, EXPORT, BENCH)]
    helps += [(*command, name, "--help") for command, name in subcommands]
    for call, (status, output, errors) in zip(
        helps, run_with_base_install(helps, tmp_path), strict=True
    ):
        assert (status, errors) == (0, ""), call
        assert "Usage:" in output, call


MISSING = [
    ((*EVALUATE, "masks", "references", "--out", "report"), "scipy is not", "eval"),
    ((*EVALUATE, "compare", "a", "b", "--out", "comparison"), "scipy is not", "eval"),
    ((*TRAIN, "fit", "tiny", "--data", "data", "--out", "run"), "torch is not", "train"),
    ((*TRAIN, "calibrate", "run", "--data", "data"), "torch is not", "train"),
    ((*TRAIN, "describe", "tiny"), "torch is not", "train"),
    ((*EXPORT, "build", "run", "--out", "bundle"), "onnxruntime is not", "cpu,export"),
    ((*EXPORT, "verify", "demo"), "no backend is", "cpu"),
    ((*BENCH, "latency", "demo"), "onnx is not", "bench"),
    ((*BENCH, "compare", "a.json", "--out", "comparison"), "onnx is not", "bench"),
    ((*BENCH, "baseline", "run"), "torch is not", "cpu,export"),
]


def test_a_missing_library_is_reported_in_one_line(tmp_path):
    results = run_with_base_install([command for command, _, _ in MISSING], tmp_path)
    for (command, missing, extras), (status, _, errors) in zip(MISSING, results, strict=True):
        says = f'error: {missing} installed. Run: pip install "wmh-lora[{extras}]"\n'
        assert (status, errors) == (2, says), command
    assert list(tmp_path.iterdir()) == []


def test_what_needs_no_optional_library_runs_without_any(tmp_path):
    commands = [(*TRAIN, "recipe", "tiny"), (*EXPORT, "inspect", "demo")]
    for status, output, errors in run_with_base_install(commands, tmp_path):
        assert (status, errors) == (0, "")
        assert len(output.splitlines()) > 5
