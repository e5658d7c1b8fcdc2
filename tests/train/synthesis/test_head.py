"""Synthetic heads: reproducible, with lesions and regions where they belong."""

import cc3d
import nibabel as nib
import numpy as np
import pytest
import torch

from tests.train.synthesis.toy_maps import write_toy_map, write_toy_mask
from wmh_train.recipe.synthesis import SynthesisSettings
from wmh_train.synthesis.anatomy import draw_anatomy, read_label_map
from wmh_train.synthesis.draws import Draws
from wmh_train.synthesis.head import synthesise_head
from wmh_train.synthesis.lesions import _highest, draw_lesions, read_real_mask
from wmh_train.synthesis.tissues import REGIONS, Tissue

STILL = {"tilt_degrees": (0, 0, 0), "scale": (1, 1), "elastic_mm": (0, 0), "ventricles_share": 0}
CLEAN = {"bias": (0, 0), "noise": (1e-6, 1e-6), "ghost_share": 0, "gamma": (1, 1)}


@pytest.fixture(scope="module")
def toy_map(tmp_path_factory):
    return read_label_map(write_toy_map(tmp_path_factory.mktemp("maps") / "a.nii.gz"))


@pytest.fixture(scope="module")
def toy_mask(tmp_path_factory):
    return read_real_mask(write_toy_mask(tmp_path_factory.mktemp("masks") / "a.nii.gz"))


def settings(**tables):
    return SynthesisSettings.model_validate(tables)


def make(toy_map, number=0, masks=(), **tables):
    return synthesise_head([toy_map], masks, settings(**tables), seed=3, number=number)


def test_the_same_arguments_give_the_same_head_and_another_number_another(toy_map, toy_mask):
    first, again = (make(toy_map, 5, [toy_mask]) for _ in range(2))
    np.testing.assert_array_equal(first.flair, again.flair)
    np.testing.assert_array_equal(first.t1, again.t1)
    for name, mask in first.masks.items():
        np.testing.assert_array_equal(mask, again.masks[name])
    other = make(toy_map, 6, [toy_mask])
    assert first.flair.shape != other.flair.shape or (first.flair != other.flair).any()


def test_volumes_of_an_unchanged_head_are_those_of_the_label_map(toy_map):
    head = make(
        toy_map,
        anatomy=STILL,
        lesions={"without_share": 1},
        acquisition=CLEAN | {"isotropic_share": 1, "blur_mm": (0.3, 0.3), "brain_only_share": 0},
    )
    voxel_mm3 = abs(np.linalg.det(head.affine))
    # Ellipsoids: 4/3 π · 26 · 28 · 24 mm³, without two ventricles of 4/3 π · 4 · 12 · 6 mm³ each.
    white_mm3 = 4 / 3 * np.pi * (26 * 28 * 24 - 2 * 4 * 12 * 6)
    ventricles_mm3 = 4 / 3 * np.pi * 2 * 4 * 12 * 6
    assert head.masks["white"].sum() * voxel_mm3 == pytest.approx(white_mm3, rel=0.02)
    assert head.masks["ventricles"].sum() * voxel_mm3 == pytest.approx(ventricles_mm3, rel=0.15)
    assert head.masks["wmh"].sum() == 0
    assert head.load_ml == 0
    assert set(head.masks) == {"wmh", *REGIONS}


def test_signals_are_in_the_order_of_flair_and_t1(toy_map):
    head = make(
        toy_map,
        anatomy=STILL,
        lesions={"without_share": 0, "real_share": 0, "own_share": 0, "load_ml": (5, 5)},
        signals={"rim_share": 0, "islands_share": 0, "flow_share": 0, "dirty_white": (0, 0)},
        acquisition=CLEAN | {"isotropic_share": 1, "brain_only_share": 0, "blur_mm": (0.3, 0.3)},
    )
    healthy = (head.masks["white"] == 1) & (head.masks["wmh"] == 0)
    medians = {
        name: (np.median(head.flair[mask]), np.median(head.t1[mask]))
        for name, mask in {
            "lesion": head.masks["wmh"] == 1,
            "cortex": head.masks["cortex"] == 1,
            "white": healthy,
            "fluid": head.masks["ventricles"] == 1,
        }.items()
    }
    flair = [medians[name][0] for name in ("lesion", "cortex", "white", "fluid")]
    assert flair == sorted(flair, reverse=True)
    t1 = [medians[name][1] for name in ("white", "cortex", "fluid")]
    assert t1 == sorted(t1, reverse=True)
    assert medians["lesion"][1] < medians["white"][1]


def test_made_lesions_have_the_load_and_lie_in_white_matter(toy_map):
    anatomy = draw_anatomy(toy_map, settings(anatomy=STILL).anatomy, Draws(1))
    lesion_settings = settings(
        lesions={"without_share": 0, "real_share": 0, "own_share": 0, "load_ml": (8, 8)}
    ).lesions
    loads = []
    for seed in range(6):
        lesions = draw_lesions(anatomy, [], lesion_settings, Draws(seed))
        elsewhere = lesions & (anatomy.tissue != Tissue.WHITE)
        assert elsewhere.sum() < 0.2 * lesions.sum()  # a few in the cerebellum
        loads.append(float(lesions.sum()) / 1000)
    assert all(4 < load < 9.5 for load in loads), loads  # parts overlap


def test_the_highest_voxels_fill_the_volume():
    score = torch.arange(4000.0).reshape(10, 20, 20)
    where = score % 2 == 0
    found = _highest(score, where, 0.25)  # 250 voxels of 1 mm³, every other one from the last
    assert found.sum() == 250
    assert score[found].min() == 3998 - 2 * 249


def test_a_real_mask_lies_where_its_brain_lies(toy_map, toy_mask):
    anatomy = draw_anatomy(toy_map, settings(anatomy=STILL).anatomy, Draws(1))
    lesion_settings = settings(
        lesions={"without_share": 0, "real_share": 1, "own_share": 0}
    ).lesions
    centers = []
    for seed in range(8):
        lesions = draw_lesions(anatomy, [toy_mask], lesion_settings, Draws(seed, 1))
        labels, count = cc3d.connected_components(lesions.numpy(), return_N=True)
        if count == 1:  # nothing was made besides
            centers.append(anatomy.in_cerebrum[torch.from_numpy(labels == 1)].mean(dim=0).numpy())
    assert len(centers) > 1
    # The middle of the box of the template's cerebrum is the middle of this one's.
    np.testing.assert_allclose(np.mean(centers, axis=0), 0.5, atol=0.06)


def test_lesions_of_the_label_map_are_kept(toy_map):
    head = make(
        toy_map,
        anatomy=STILL,
        lesions={"without_share": 0, "real_share": 0, "own_share": 1, "load_ml": (0.2, 0.2)},
        acquisition=CLEAN | {"isotropic_share": 1, "brain_only_share": 0},
    )
    # A ball of 4 mm radius is 0.27 mL.
    assert 0.2 < head.load_ml < 0.8


def test_a_scan_without_skull_has_only_the_brain_and_a_margin(toy_map):
    with_skull, without = (
        make(
            toy_map,
            anatomy=STILL,
            acquisition=CLEAN | {"brain_only_share": share, "brain_margin_mm": (1.5, 1.5)},
        )
        for share in (0, 1)
    )
    brain = without.masks["brain"] == 1
    assert (without.flair[~brain] > 0).mean() < 0.1
    assert (without.flair[brain] > 0).mean() > 0.95
    assert (with_skull.flair > 0).sum() > 1.5 * (without.flair > 0).sum()


def test_thick_slices_are_averages(toy_map):
    head = make(
        toy_map,
        anatomy=STILL,
        acquisition=CLEAN
        | {"isotropic_share": 0, "thickness_mm": (5, 5), "pixel_mm": (1, 1), "gap_share": (0, 0)},
    )
    assert np.linalg.norm(head.affine[:3, :3], axis=0) == pytest.approx([1, 1, 5])
    assert nib.aff2axcodes(head.affine) == ("L", "P", "S")
    assert head.masks["white"].shape == head.flair.shape == head.t1.shape


def test_regions_of_different_tissues_do_not_overlap(toy_map):
    head = make(toy_map, 1, lesions={"without_share": 0, "load_ml": (20, 20)})
    parts = [head.masks[name].astype(int) for name in ("white", "ventricles", "posterior")]
    assert sum(parts).max() == 1
