"""Where the lesions are, on a brain of which every distance is known.

The brain is a row of voxels along x, 2 mm each: ventricle, white matter, cortex, cerebellum.
"""

import numpy as np
import pytest

from wmh_runtime.postprocessing.burden import Anatomy, measure_burden
from wmh_runtime.postprocessing.lesions import find_lesions
from wmh_runtime.postprocessing.plausibility import symmetry_warnings
from wmh_runtime.postprocessing.regions import Regions, brain_of, clean_regions
from wmh_runtime.postprocessing.symmetry import LEAST_AGREEMENT

AFFINE = np.diag([2.0, 1.0, 1.0, 1.0])
VOXEL_ML = 0.002
#            voxel: 0 1 | 2 … 15 | 16 17 | 18 … 29
VENTRICLES, WHITE, CORTEX, POSTERIOR = slice(0, 2), slice(2, 16), slice(16, 18), slice(18, 30)


def row(*parts, size=40):
    mask = np.zeros((size, 1, 1), bool)
    for part in parts:
        mask[part] = True
    return mask


REGIONS = {
    "brain": row(slice(0, 30)),
    "ventricles": row(VENTRICLES),
    "cortex": row(CORTEX),
    "posterior": row(POSTERIOR),
}


def lesions_of(*parts):
    probability = row(*parts).astype(np.float32)
    return find_lesions(
        probability, threshold=0.5, min_lesion_mm3=0, voxel_volume_mm3=1000 * VOXEL_ML
    )


def burden_of(lesions, regions, affine):
    return measure_burden(lesions, Anatomy.of(regions, lesions.labels > 0, affine))


def test_each_voxel_has_the_number_of_the_last_region_that_holds_it():
    numbers = Regions.of(REGIONS).numbers[:, 0, 0]
    # brain 1, ventricles 2, cortex 3, posterior 4; white matter is brain only
    assert numbers.tolist() == [2] * 2 + [1] * 14 + [3] * 2 + [4] * 12 + [0] * 10


def test_every_voxel_of_a_lesion_has_one_location():
    # Voxels 2 to 6 are 2 to 10 mm from the ventricle's last voxel; 14 and 15 are 4 and 2 mm from
    # the cortex; 7 to 13 are neither.
    burden = burden_of(lesions_of(WHITE), REGIONS, AFFINE)
    volumes = {name: found.volume_ml for name, found in burden.locations.items()}
    assert volumes == pytest.approx(
        {
            "periventricular": 5 * VOXEL_ML,
            "deep": 7 * VOXEL_ML,
            "juxtacortical": 2 * VOXEL_ML,
            "infratentorial": 0,
        }
    )
    assert burden.percent_of_brain == pytest.approx(100 * 14 / 30)


def test_a_lesion_counts_where_most_of_it_lies():
    # Lesions of 6, 3, 2 and 1 voxels: largest first.
    lesions = lesions_of(slice(8, 14), slice(20, 23), slice(3, 5), slice(15, 16))
    burden = burden_of(lesions, REGIONS, AFFINE)
    expected = ["deep", "infratentorial", "periventricular", "juxtacortical"]
    assert list(burden.location_of_lesions) == expected
    assert {found.lesion_count for found in burden.locations.values()} == {1}


def test_sides_are_left_out_where_no_plane_is_found():
    lesions = lesions_of(WHITE)
    anatomy = Anatomy.of(REGIONS, lesions.labels > 0, AFFINE)  # a row is not symmetric
    assert anatomy.symmetry < LEAST_AGREEMENT
    burden = measure_burden(lesions, anatomy)
    assert list(burden.side_of_lesions) == []
    assert {load.side for load in burden.loads} == {""}
    (warning,) = symmetry_warnings(anatomy.symmetry)
    assert warning.startswith(f"left and right are not told apart: {anatomy.symmetry:.0%}")
    assert symmetry_warnings(0.6) == symmetry_warnings(None) == []


def test_without_lesions_all_is_zero():
    burden = burden_of(lesions_of(), REGIONS, AFFINE)
    assert burden.percent_of_brain == 0
    assert all(found.volume_ml == found.lesion_count == 0 for found in burden.locations.values())


def test_without_ventricles_nothing_is_periventricular():
    regions = REGIONS | {"ventricles": row()}
    burden = burden_of(lesions_of(slice(2, 6)), regions, AFFINE)
    assert burden.locations["deep"].volume_ml == pytest.approx(4 * VOXEL_ML)


@pytest.mark.parametrize("missing", ["brain", "ventricles", "cortex", "posterior"])
def test_without_a_region_locations_are_not_known(missing):
    regions = {name: mask for name, mask in REGIONS.items() if name != missing}
    burden = burden_of(lesions_of(WHITE), regions, AFFINE)
    assert burden.locations == {}
    # White matter is 6 of 30 voxels of brain.
    share = None if missing == "brain" else pytest.approx(100 * (WHITE.stop - WHITE.start) / 30)
    assert burden.percent_of_brain == share


def test_brain_is_what_no_other_region_covers_wherever_it_is_in_the_list():
    regions = Regions.of({"ventricles": row(VENTRICLES), "brain": row(slice(0, 30))})
    assert regions.numbers[:, 0, 0].tolist() == [1] * 2 + [2] * 28 + [0] * 10


def test_the_regions_are_the_masks_they_were_made_of():
    regions = Regions.of(REGIONS)
    assert list(regions) == list(REGIONS)
    for name, mask in REGIONS.items():
        np.testing.assert_array_equal(regions[name], mask)
    assert regions.get("thalamus") is None
    assert Regions.of(regions) is regions


def cleaned(masks):
    parts = {name: mask & False if name == "brain" else mask for name, mask in masks.items()}
    return clean_regions(Regions.of(parts), masks.get("brain"))


def test_small_pieces_of_ventricles_are_dropped():
    masks = {"ventricles": row(slice(0, 20), slice(30, 32), slice(35, 38))}  # 2 of 20, 3 of 20
    np.testing.assert_array_equal(cleaned(masks)["ventricles"], row(slice(0, 20), slice(35, 38)))


def test_small_pieces_of_brain_are_dropped():
    masks = cleaned(
        {
            "brain": row(slice(0, 20), slice(30, 32)),  # 2 of 20: not above a tenth
            "ventricles": row(slice(0, 2), slice(30, 31)),
        }
    )
    np.testing.assert_array_equal(masks["brain"], row(slice(0, 20)))
    np.testing.assert_array_equal(masks["ventricles"], row(slice(0, 2)))


def test_a_brain_that_a_damaged_slice_cuts_in_two_keeps_both_parts():
    brain = row(slice(0, 20), slice(21, 24))  # 3 of 20
    np.testing.assert_array_equal(cleaned({"brain": brain})["brain"], brain)


def test_without_a_brain_nothing_is_dropped():
    assert brain_of({"brain": row()}) is None
    assert cleaned({"brain": row()})["brain"].sum() == 0


def test_volumes_add_up_with_a_sheared_affine():
    # The voxels measure half of the product of their spacings: the axes x and y are 30° apart.
    sheared = AFFINE.copy()
    sheared[:2, 1] = (np.cos(np.pi / 6), np.sin(np.pi / 6))
    burden = burden_of(lesions_of(WHITE), REGIONS, sheared)
    total_ml = sum(found.volume_ml for found in burden.locations.values())
    assert total_ml == pytest.approx(14 * VOXEL_ML / 2)


def test_lesions_outside_the_brain_are_dropped():
    # Of the first lesion half lies in the brain, of the second a third.
    probability = row(slice(28, 32), slice(34, 37)).astype(np.float32)
    brain = row(slice(0, 30), slice(34, 35))
    lesions = find_lesions(
        probability, threshold=0.5, min_lesion_mm3=0, voxel_volume_mm3=1, brain=brain
    )
    np.testing.assert_array_equal(lesions.mask.astype(bool), row(slice(28, 32)))
    assert lesions.volumes_mm3.tolist() == [4]
    assert lesions.outside_ml == 0.003


def test_lesions_are_numbered_from_the_largest():
    lesions = lesions_of(slice(2, 3), slice(5, 9), slice(11, 13))
    assert lesions.labels.ravel()[[2, 5, 8, 11, 12]].tolist() == [3, 1, 1, 2, 2]
