"""Lesions by region, on a row of voxels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmh_runtime.postprocessing.lesions import find_lesions
from wmh_runtime.postprocessing.parcellation import (
    Parcellation,
    measure_parcellation,
    sides_of_lesions,
)

VOXEL_ML = 0.5
#                  x: 0  1  2  3  4  5  6  7  8  9
NUMBERS = np.array([7, 7, 7, 7, 0, 3, 3, 3, 3, 3], np.uint8).reshape(10, 1, 1)
LESION = np.array([0, 1, 1, 0, 1, 1, 1, 0, 0, 1], bool).reshape(10, 1, 1)
PARTS = Parcellation("lobes", NUMBERS, {3: "frontal", 7: "parietal", 9: "occipital"})
LEFT = np.arange(10).reshape(10, 1, 1) < 6


def lesions_of(mask):
    return find_lesions(
        mask.astype(np.float32), threshold=0.5, min_lesion_mm3=0, voxel_volume_mm3=500
    )


def test_each_lesion_is_in_the_region_of_most_of_its_voxels():
    # Largest first: voxels 4 to 6 (one in no region, two frontal), then 1 and 2, then 9.
    found = measure_parcellation(lesions_of(LESION), PARTS, None, VOXEL_ML).of_lesions
    assert [(one.name, one.share) for one in found] == [
        ("frontal", pytest.approx(2 / 3)),
        ("parietal", 1),
        ("frontal", 1),
    ]


def test_loads_by_region_and_side():
    loads = measure_parcellation(lesions_of(LESION), PARTS, LEFT, VOXEL_ML).loads
    table = {
        (one.region, one.side): (one.region_ml, one.lesion_ml, one.lesion_count) for one in loads
    }
    assert table == {
        ("frontal", ""): (2.5, 1.5, 2),
        ("parietal", ""): (2.0, 1.0, 1),
        ("occipital", ""): (0.0, 0.0, 0),
        ("none", ""): (None, 0.5, 0),
        ("frontal", "left"): (0.5, 0.5, 1),  # the first lesion: two of its three voxels are left
        ("parietal", "left"): (2.0, 1.0, 1),
        ("occipital", "left"): (0.0, 0.0, 0),
        ("none", "left"): (None, 0.5, 0),
        ("frontal", "right"): (2.0, 1.0, 1),
        ("parietal", "right"): (0.0, 0.0, 0),
        ("occipital", "right"): (0.0, 0.0, 0),
        ("none", "right"): (None, 0.0, 0),
    }
    assert sides_of_lesions(lesions_of(LESION), LEFT) == ["left", "left", "right"]


def test_numbers_without_a_name_are_in_no_region():
    one = Parcellation("one", NUMBERS, {3: "a"})
    loads = measure_parcellation(lesions_of(LESION), one, None, VOXEL_ML).loads
    assert [(one.region, one.lesion_ml) for one in loads] == [("a", 1.5), ("none", 1.5)]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_regions_and_sides_add_up_to_the_lesions(seed):
    rng = np.random.default_rng(seed)
    shape = (6, 7, 5)
    lesions = lesions_of(rng.random(shape) < 0.2)
    parts = Parcellation("any", rng.integers(0, 5, shape).astype(np.uint8), {1: "a", 3: "b"})
    loads = measure_parcellation(lesions, parts, rng.random(shape) < 0.5, VOXEL_ML).loads
    both = [one for one in loads if not one.side]
    halves = [one for one in loads if one.side]
    for group in (both, halves):
        assert sum(one.lesion_ml for one in group) == pytest.approx(lesions.volume_ml)
        assert sum(one.lesion_count for one in group) == lesions.count


def test_without_lesions_all_is_zero():
    found = measure_parcellation(lesions_of(np.zeros_like(LESION)), PARTS, LEFT, VOXEL_ML)
    assert all(one.lesion_ml == one.lesion_count == 0 for one in found.loads)
    assert found.of_lesions == []
