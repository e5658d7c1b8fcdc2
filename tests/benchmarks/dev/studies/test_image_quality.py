"""Artifacts and summary of the study of image quality."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.dev.studies.image_quality import study as study_module
from benchmarks.dev.studies.image_quality.artifacts import ARTIFACTS
from benchmarks.dev.studies.image_quality.cuts import SIDES, cut_off
from benchmarks.dev.studies.image_quality.study import (
    EXTRACTED,
    NONE,
    MeasuredScan,
    QualityStudy,
    run_study,
)
from benchmarks.dev.studies.image_quality.summary import summary_of
from tests.runtime.image_quality.quality_toys import toy_slices
from tests.toys import as_scan, write_head, write_toy_bundle
from wmh_runtime import Segmenter, load_bundle

HEADS = ["a_FLAIR.nii.gz", "b_FLAIR.nii.gz", "c_FLAIR.nii.gz"]
HEAD = np.zeros((8, 48, 40), bool)
HEAD[:, 12:36, 10:30] = True


def slices(thickness_mm=4.0):
    stack = np.where(HEAD, 100, 0)
    return toy_slices(stack, spacing_mm=(thickness_mm, 1.0, 1.0), head=HEAD, white=HEAD)


def damaged(name, strength, given=None):
    return ARTIFACTS[name].apply(given or slices(), strength, np.random.default_rng(4))


@pytest.mark.parametrize("name", ARTIFACTS)
def test_without_strength_nothing_changes(name):
    expected = slices().stack
    if name == "interpolated noise":  # the image loses its details, but not its brightness
        assert damaged(name, 0.0)[HEAD].mean() == pytest.approx(100, rel=0.05)
    else:
        assert damaged(name, 0.0) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", ARTIFACTS)
def test_background_that_was_not_measured_stays(name):
    given = slices()
    given.background[:] = ~HEAD
    found = damaged(name, ARTIFACTS[name].strengths[-1], given)
    assert found.dtype == np.float32
    if name != "moved slices":  # they carry the background with them
        assert not found[~HEAD].any()


def test_ghosts_have_the_given_strength():
    outside = damaged("ghosts", 0.1)[~HEAD]
    assert np.unique(outside.round(2)).tolist()[:2] == [0.0, 10.0]


def test_noise_has_the_given_strength():
    inside = damaged("noise", 0.1)[HEAD]
    assert inside.std() == pytest.approx(10, rel=0.05)


def test_every_second_slice_is_banded():
    means = damaged("banding", 0.2)[:, 20, 20]
    assert sorted(set(means.round(3).tolist())) == [80, 100]


def test_odd_slices_move_by_millimeters():
    found = damaged("moved slices", 3.0) > 50
    rows = [np.flatnonzero(one[:, 20])[0] for one in found]
    assert {abs(int(row) - 12) for row in rows[1::2]} <= {2, 3, 4}  # turned by 3° besides
    assert rows[::2] == [12] * 4


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("directions", [(-1, -1, 1), (1, 1, 1), (1, -1, -1)])
def test_a_cut_removes_the_brain_of_one_side_and_moves_nothing(side, directions):
    spacing_mm = np.array([2.0, 2.5, 5.0])
    affine = np.diag([*(directions * spacing_mm), 1.0])
    brain = np.zeros((40, 40, 20), bool)
    brain[5:35, 5:35, 3:17] = True
    scan = as_scan(np.random.default_rng(0).random(brain.shape), affine)
    found = cut_off(scan, brain, side, 10)
    axis, to_end = {"bottom": (2, -1), "top": (2, 1), "front": (1, 1), "left": (0, -1)}[side]
    sign = directions[axis] * to_end  # in RAS+: whether the end of the voxel axis is cut off
    lost = {0: 5, 1: 4, 2: 2}[axis]  # voxels of 10 mm
    expected = {0: 35, 1: 35, 2: 17}[axis] - lost
    assert found.shape[axis] == expected
    first = 0 if sign > 0 else scan.shape[axis] - expected
    corner = np.zeros(3, int)
    corner[axis] = first
    assert found.voxels[0, 0, 0] == scan.voxels[tuple(corner)]
    assert found.affine @ [0, 0, 0, 1] == pytest.approx(affine @ [*corner, 1])


def one(scan, artifact, strength, noise, flagged=()):
    return MeasuredScan(
        scan=scan,
        artifact=artifact,
        strength=strength,
        values={"noise": noise, "bias": 3.0},
        flagged=list(flagged),
    )


def test_the_summary_counts_new_flags_of_what_was_measurable():
    study = QualityStudy(
        commit="",
        scans=[
            one("a", NONE, 0, 4.0),
            one("b", NONE, 0, 14.0, ["noise"]),
            one("phantom_c", NONE, 0, 6.0),
            one("a", EXTRACTED, 0, None),
            one("a", "noise", 0.1, 15.0, ["noise"]),
            one("b", "noise", 0.1, 18.0, ["noise", "bias"]),
            one("phantom_c", "noise", 0.1, None),
        ],
    )
    lines = summary_of(study).splitlines()
    assert "| noise | 4.0 to 14.0; flagged 1 of 2 | 6.0 to 6.0; flagged 0 of 1 |" in lines[2]
    assert lines[2].endswith("| not measurable |")
    assert lines[-1] == "| noise | 0.1 | 2 of 3 | 1 of 1 | 1 of 3 |"


def test_every_scan_is_measured_clean_and_some_with_artifacts(tmp_path, monkeypatch):
    blur = replace(ARTIFACTS["blur"], strengths=(2.0, 4.0))
    monkeypatch.setattr(study_module, "ARTIFACTS", {"blur": blur})
    monkeypatch.setattr(study_module, "SIDES", {"top": SIDES["top"]})
    monkeypatch.setattr(study_module, "CUTS_MM", (5.0, 10.0))
    bundle = load_bundle(write_toy_bundle(tmp_path / "toy", regions=["brain", "white"]))
    paths = [write_head(tmp_path / name) for name in HEADS]
    counts = []

    def count(study):
        counts.append(len(study.scans))

    with Segmenter.from_bundle(bundle) as segmenter:
        study = run_study(paths, 0, 2, segmenter, count)
    seen = study.scans
    assert counts == list(range(1, len(seen) + 1))
    for artifact in (NONE, EXTRACTED):
        assert [found.scan for found in seen if found.artifact == artifact] == HEADS
    found = [
        (one.scan, one.artifact, one.strength)
        for one in seen
        if one.artifact not in (NONE, EXTRACTED)
    ]
    added = [("blur", 2.0), ("blur", 4.0), ("cut top", 5.0), ("cut top", 10.0)]
    assert found == [(scan, *one) for scan in HEADS[::2] for one in added]
