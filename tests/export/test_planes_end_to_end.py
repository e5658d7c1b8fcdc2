"""A network for three planes goes the whole way: train, calibrate, export, segment, verify."""

import json

import nibabel as nib
import numpy as np
import pytest

from tests.export.hand_set_networks import brief_recipe, run_without_pytorch, train_and_build
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.preprocessing.slices.planes import PLANES
from wmh_train.checkpoint import load_metadata

SHAPE = (68, 84, 64)  # voxels
LESION = (slice(24, 32), slice(30, 40), slice(28, 36))  # 8 × 10 × 8 voxels


def write_heads(folder, spacing_mm, count=4):
    """Write ellipsoids with one bright block, and their masks."""
    rng = np.random.default_rng(3)
    x, y, z = (np.linspace(-1.15, 1.15, size) for size in SHAPE)
    inside = x[:, None, None] ** 2 + y[:, None] ** 2 + z**2 <= 1
    affine = np.diag([*spacing_mm, 1.0])
    for number in range(count):
        voxels = rng.normal(0, 2, SHAPE).clip(0) + 100 * inside
        voxels[LESION] = 300
        mask = np.zeros(SHAPE, np.uint8)
        mask[LESION] = 1
        name = f"sub-{number:02d}"
        reference = folder / "derivatives" / "reference" / f"{name}_label-WMH_mask.nii.gz"
        reference.parent.mkdir(parents=True, exist_ok=True)
        nib.save(
            nib.Nifti1Image(voxels.astype(np.float32), affine), folder / f"{name}_FLAIR.nii.gz"
        )
        nib.save(nib.Nifti1Image(mask, affine), reference)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folders of a checkpoint and of its bundle."""
    folder = tmp_path_factory.mktemp("planes")
    heads = write_heads(folder / "heads", (2.5, 2.5, 2.5))
    recipe = brief_recipe("unet", "three-planes", planes=list(PLANES))
    return train_and_build(recipe, heads, folder)


def test_the_checkpoint_was_calibrated_on_the_mean_of_three_planes(exported):
    calibration = load_metadata(exported[0]).calibration
    assert calibration.operating_points[0].mean_dice[0] > 0.8
    assert load_bundle(exported[1]).manifest.preprocessing.planes == PLANES


@pytest.mark.parametrize(
    ("thickness_mm", "planes", "slices"),
    [(2.5, list(PLANES), sum(SHAPE)), (6.5, ["axial"], SHAPE[2])],
)
def test_a_scan_is_segmented_in_all_planes_unless_its_slices_are_thick(
    exported, tmp_path, thickness_mm, planes, slices
):
    heads = write_heads(tmp_path / "heads", (2.5, 2.5, thickness_mm), count=1)
    scan, out = heads / "sub-00_FLAIR.nii.gz", tmp_path / "out"
    for tta in ("full", "adaptive"):
        arguments = (scan, out / tta, "--bundle", exported[1], "--tta", tta)
        done = run_without_pytorch("wmh_runtime.cli.infer.main", *arguments)
        assert done.returncode == 0, done.stderr
        (path,) = (out / tta).rglob("*_label-WMH_mask.nii.gz")
        found = np.asarray(nib.load(path).dataobj) > 0
        lesion = np.zeros(SHAPE, bool)
        lesion[LESION] = True
        assert 2 * np.count_nonzero(found & lesion) / (found.sum() + lesion.sum()) > 0.75
        (sidecar,) = (out / tta).rglob("*_label-WMH_mask.json")
        facts = json.loads(sidecar.read_text(encoding="utf-8"))
        assert facts["planes"] == planes
        assert facts["slices"] == slices
        assert ("segmented in axial slices only" in "".join(facts["warnings"])) == (
            planes == ["axial"]
        )


def test_the_bundle_verifies_without_pytorch(exported):
    done = run_without_pytorch("wmh_export.cli", "verify", exported[1])
    assert done.returncode == 0, done.stderr
    assert "comparisons within tolerance" in done.stdout
