"""Two visits in their halfway space, with known and with found transforms."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.change.test_rules import OPPOSITE
from tests.runtime.change.visit_scans import (
    SHAPE,
    STILL,
    box,
    head,
    known,
    moved,
    turned,
    visit_images,
)
from tests.toys import as_scan
from wmh_runtime.change.acquisition import Acquisition
from wmh_runtime.change.pair.halfway import find_halfway, halfway_from, halfway_grid
from wmh_runtime.change.pair.interval import measure_interval
from wmh_runtime.change.pair.protocol import protocol_differences
from wmh_runtime.change.pair.rigid import inverse_of
from wmh_runtime.change.rules import ONE_PROTOCOL
from wmh_runtime.change.visits import BrainRegions
from wmh_runtime.postprocessing.burden import Anatomy, measure_burden
from wmh_runtime.postprocessing.lesions import lesions_of_mask

# Voxels of 1 x 1 x 4 mm, in other orders and directions of the axes, and oblique.
THICK = np.diag([1.0, 1.0, 4.0, 1.0])
GRIDS = {
    "cubes": np.eye(4),
    "thick slices": THICK,
    "flipped": np.diag([-1.0, 1.0, -4.0, 1.0]),
    "other order": np.array([[0, 4.0, 0, 5], [1.0, 0, 0, 7], [0, 0, -1.0, 9], [0, 0, 0, 1]]),
    "oblique": turned(17, (3, 5, -8)) @ turned(11, (0, 0, 0), axis=0) @ THICK,
}


# Slices of 4 mm along the first axis of the array.
STACKED_FIRST = np.array([[0, 1.0, 0, 0], [0, 0, 1.0, 0], [4.0, 0, 0, 0], [0, 0, 0, 1]])


@pytest.fixture(params=GRIDS.values(), ids=GRIDS)
def affine(request):
    return request.param


def volumes(interval):
    matched = interval.matched
    return np.stack([matched.before_mm3, matched.after_mm3], axis=1)


def test_boxes_on_one_grid_keep_their_volumes(affine):
    # Whole voxels of the scan contain whole voxels of the halfway space: 1 mm.
    before = box((3, 7), (4, 9), (2, 4)) | box((14, 18), (15, 20), (6, 9))
    after = box((3, 8), (4, 9), (2, 4)) | box((14, 18), (15, 19), (6, 9))
    voxel_mm3 = abs(np.linalg.det(affine))
    found = measure_interval(visit_images(before, affine), visit_images(after, affine), STILL)
    assert found.spacing_mm == pytest.approx(1)
    expected = voxel_mm3 * np.array([[60, 48], [40, 50]])
    np.testing.assert_allclose(volumes(found), expected, rtol=1e-6)
    assert found.change_ml == pytest.approx(-2 * voxel_mm3 / 1000)
    centers = np.linalg.inv(affine) @ [*found.centers_mm[1], 1]
    np.testing.assert_allclose(centers[:3], [5, 6, 2.5], atol=1e-5)
    np.testing.assert_array_equal(found.class_map > 0, before | after)


@given(st.integers(0, 2**32 - 1), st.floats(-12, 12))
@settings(max_examples=20)
def test_volumes_of_lesions_add_up_to_that_of_the_mask(seed, degrees):
    # Boxes of 8 voxels and single voxels, which interpolation may lose.
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(2):
        mask = np.zeros(SHAPE, bool)
        for x, y, z in rng.integers((4, 4, 2), (18, 22, 9), (5, 3)):
            mask[x : x + 2, y : y + 2, z : z + 2] = True
        masks.append(mask)
    single = np.zeros(SHAPE, bool)
    single[tuple(rng.integers((4, 4, 2), (18, 22, 9)))] = True
    before = visit_images(masks[0], THICK)
    pose = turned(degrees, (3, -4, 2), axis=0)
    after = moved(visit_images(masks[1] | single, THICK), pose)
    found = measure_interval(before, after, known(inverse_of(pose), after))
    for visit, own in zip((before, after), found.masks, strict=True):
        assert own.total_ml <= visit.volume_ml + 1e-9  # what both scans show
        lost_mm3 = 1000 * own.total_ml - own.lesions_mm3.sum()
        assert -1e-6 <= lost_mm3 <= 4 + 1e-6  # at most the single voxel
    assert np.all((found.masks[0].lesions_mm3 > 0) | (found.masks[1].lesions_mm3 > 0))


def test_small_lesions_have_the_volume_that_the_mask_gives(affine):
    # Turned by 8°, the halfway space cuts their corners; the masks have them.
    voxel_mm3 = abs(np.linalg.det(affine))
    mask = box((8, 10), (9, 11), (4, 6))
    pose = turned(8, (2, 1, -3))
    before = visit_images(mask, affine)
    after = moved(before, pose)
    found = measure_interval(before, after, known(inverse_of(pose), after))
    for own in found.masks:
        assert own.lesions_mm3 == pytest.approx([8 * voxel_mm3])


def test_a_scan_with_itself_is_stable(affine):
    mask = box((3, 7), (4, 9), (2, 4)) | box((14, 18), (15, 20), (6, 9))
    visit = visit_images(mask, affine)
    found = measure_interval(visit, visit, STILL)
    assert found.matched.classes == ["stable", "stable"]
    assert found.change_ml == 0
    assert found.similarity > 0.9
    assert found.warnings == ()


@pytest.mark.parametrize(("rows", "expected"), [(5, "stable"), (7, "stable"), (20, "enlarging")])
def test_a_lesion_that_grows_from_100_mm3(rows, expected):
    # One slice of 4 mm: 5 rows of 5 pixels are 100 mm³, 7 are 140 mm³ with a surface of 166 mm².
    before = box((3, 8), (2, 7), (5, 6), shape=(12, 40, 12))
    after = box((3, 8), (2, 2 + rows), (5, 6), shape=(12, 40, 12))
    found = measure_interval(visit_images(before, THICK), visit_images(after, THICK), STILL)
    after_mm3, after_mm2 = 20 * rows, 2 * 5 * rows + 2 * 4 * (5 + rows)
    np.testing.assert_allclose(volumes(found), [[100, after_mm3]])
    assert found.matched.uncertainty_mm3 == pytest.approx([ONE_PROTOCOL.lesion_mm * after_mm2])
    assert found.matched.classes == [expected]


def test_scans_of_two_protocols_have_a_warning_and_a_wider_uncertainty():
    mask = box((3, 8), (2, 7), (5, 6), shape=(12, 40, 12))  # 100 mm³, 130 mm²
    visit = visit_images(mask, THICK)
    one = measure_interval(visit, visit, STILL)
    assert one.matched.uncertainty_mm3 == pytest.approx([52])
    assert one.uncertainty_ml == pytest.approx(0.026)
    assert (one.protocol_differences, one.warnings) == ((), ())
    acquired = [
        replace(visit, acquisition=Acquisition(numbers={"EchoTime": s})) for s in (0.09, 0.12)
    ]
    two = measure_interval(*acquired, STILL)
    assert two.protocol_differences == ("EchoTime 0.09 and 0.12",)
    assert two.matched.uncertainty_mm3 == pytest.approx([65])
    assert two.uncertainty_ml == pytest.approx(0.0585)
    (warning,) = two.warnings
    assert "were acquired differently (EchoTime 0.09 and 0.12)" in warning
    unknown = replace(visit, acquisition=Acquisition(unreadable=(Path("a.json"),)))
    (warning,) = measure_interval(visit, unknown, STILL).warnings
    assert warning.startswith("a.json cannot be read")


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (np.diag([1, 1, 4.3, 1]), ()),  # by 7 %
        (STACKED_FIRST, ()),  # slices along the same axis of the head
        (np.diag([4.0, 1, 1, 1]), ("voxels of 1 × 1 × 4 and 4 × 1 × 1 mm",)),  # sagittal slices
        (np.diag([1.0, 1, 5, 1]), ("voxels of 1 × 1 × 4 and 1 × 1 × 5 mm",)),
    ],
)
def test_other_voxels_are_another_protocol(affine, expected):
    mask = box((8, 12), (8, 12), (4, 8))
    visits = (visit_images(mask, THICK), visit_images(mask, affine))
    assert tuple(protocol_differences(*visits)) == expected


def random_visits(seed):
    """Smooth random maps, so that no boundary is exactly on a voxel of the halfway space."""
    rng = np.random.default_rng(seed)
    visits = []
    for noise in (rng.random(SHAPE), rng.random(SHAPE)):
        smooth = noise
        for axis in range(3):
            smooth = sum(np.roll(smooth, step, axis) for step in (-1, 0, 1)) / 3
        inner = box((4, -4), (4, -4), (2, -2))
        level = np.clip(0.5 + 4 * (smooth - 0.53), 0, 1).astype(np.float32) * inner
        visits.append(visit_images(level >= 0.5, THICK, level))
    return visits


poses = st.builds(
    turned,
    st.floats(-12, 12),
    st.tuples(*[st.floats(-4, 4)] * 3),
    st.sampled_from([0, 1, 2]),
)


@settings(max_examples=6)
@given(st.integers(0, 1000), poses)
def test_swapping_the_visits_swaps_all_volumes_and_classes(seed, to_before):
    before, after = random_visits(seed)
    forward = measure_interval(before, after, known(to_before, after))
    backward = measure_interval(after, before, known(inverse_of(to_before), before))
    assert forward.images[0].shape == backward.images[0].shape
    np.testing.assert_allclose(forward.affine, backward.affine, atol=1e-9)
    differing = np.count_nonzero(forward.lesions[0] != backward.lesions[1])
    assert differing <= 2  # at the threshold, by rounding
    if differing == 0 and (forward.lesions[1] == backward.lesions[0]).all():
        np.testing.assert_allclose(volumes(forward), volumes(backward)[:, ::-1])
        opposite = [OPPOSITE[name] for name in backward.matched.classes]
        assert forward.matched.classes == opposite


@settings(max_examples=6)
@given(st.integers(0, 1000), poses, poses)
def test_a_common_rigid_move_changes_nothing(seed, to_before, common):
    before, after = random_visits(seed)
    here = measure_interval(before, after, known(to_before, after))
    there_after = moved(after, common)
    conjugate = common @ to_before @ inverse_of(common)
    there = measure_interval(moved(before, common), there_after, known(conjugate, there_after))
    assert here.images[0].shape == there.images[0].shape
    assert np.count_nonzero(here.lesions[0] != there.lesions[0]) <= 2
    assert volumes(here).sum() == pytest.approx(volumes(there).sum(), abs=8)


def test_thick_slices_are_divided_and_fine_voxels_are_kept():
    fine = np.diag([0.75, 0.75, 4.0, 1.0])
    visits = (visit_images(box((3, 7), (4, 9), (2, 4)), fine),) * 2
    assert halfway_grid(visits, STILL).spacing_mm == pytest.approx((0.75,) * 3)
    very_fine = np.diag([0.3, 0.3, 2.0, 1.0])
    visits = (visit_images(box((3, 7), (4, 9), (2, 4)), very_fine),) * 2
    assert halfway_grid(visits, STILL).spacing_mm == pytest.approx((0.5,) * 3)


def test_empty_masks():
    nothing, lesion = np.zeros(SHAPE, bool), box((3, 9), (4, 10), (2, 4))
    both = measure_interval(visit_images(nothing, THICK), visit_images(nothing, THICK), STILL)
    assert both.matched.classes == []
    assert (both.change_ml, both.uncertainty_ml) == (0, 0)
    new = measure_interval(visit_images(nothing, THICK), visit_images(lesion, THICK), STILL)
    assert new.matched.classes == ["new"]
    assert set(np.unique(new.class_map)) == {0, 1}
    gone = measure_interval(visit_images(lesion, THICK), visit_images(nothing, THICK), STILL)
    assert gone.matched.classes == ["resolved"]
    np.testing.assert_array_equal(gone.class_map == 4, lesion)  # it is shown where it was


def test_lesions_outside_of_the_other_scan_are_left_out_and_reported():
    lesion = box((3, 9), (4, 10), (9, 12))
    after = visit_images(lesion[:, :, 4:], THICK)  # slices 4 to 11 only
    after = moved(after, turned(0, (0, 0, 16)))
    before = visit_images(np.zeros(SHAPE, bool), THICK)
    found = measure_interval(before, after, known(np.eye(4), after))
    assert found.matched.classes == ["new"]
    shorter = visit_images(np.zeros((24, 28, 11), bool), THICK)  # without the last slice
    found = measure_interval(shorter, after, known(np.eye(4), after))
    assert volumes(found).tolist() == [[0, 6 * 6 * 8]]
    # Two of its three slices, 6 x 6 voxels of 4 mm³ each, are in both scans.
    assert [mask.total_ml for mask in found.masks] == pytest.approx([0, 2 * 36 * 4 / 1000])
    assert found.masks[1].lesions_mm3.tolist() == [2 * 36 * 4]
    assert found.change_ml == pytest.approx(0.288)
    assert found.warnings[-1] == (
        "33.3% of the lesions in memory.nii lie outside of the other scan: they are left out of"
        " the comparison"
    )


def test_two_images_that_have_nothing_in_common_are_doubtful():
    mask = box((3, 7), (4, 9), (2, 4))
    before, after = visit_images(mask, THICK), visit_images(mask, THICK)
    other = np.random.default_rng(8).random(SHAPE).astype(np.float32)
    after = replace(after, scan=replace(after.scan, voxels=other))
    (warning,) = measure_interval(before, after, STILL).warnings
    assert warning.startswith("the similarity of memory.nii and memory.nii is 0.0")


def test_a_far_move_and_two_directions_that_differ_are_doubtful():
    mask = box((3, 7), (4, 9), (2, 4))
    before, after = visit_images(mask, THICK), visit_images(mask, THICK)
    after = moved(after, turned(0, (0, 45, 0)))
    transforms = halfway_from(turned(0, (0, -45, 0)), after.scan, disagreement_mm=3.21)
    warnings = measure_interval(before, after, transforms).warnings
    assert [one.split(":")[0] for one in warnings] == [
        "memory.nii was moved by 45 mm and 0° to memory.nii",
        "registration of memory.nii and memory.nii in both directions differs by 3.2 mm, expected"
        " 1.5 or less",
    ]


def test_brains_of_different_volume_are_doubtful():
    mask, names = box((3, 7), (4, 9), (2, 4)), {1: "brain"}
    brains = [box((1, 1 + wide), (2, 26), (1, 11)).astype(np.uint16) for wide in (20, 16)]
    visits = [visit_images(mask, THICK, regions=BrainRegions(one, names)) for one in brains]
    found = measure_interval(*visits, STILL)
    # 20 · 24 · 10 · 4 mm³ and 16 · 24 · 10 · 4 mm³
    assert any("have 19 and 15 mL" in warning for warning in found.warnings)


def test_lesions_have_the_location_of_most_of_their_voxels():
    numbers = box((1, 23), (1, 27), (1, 11)).astype(np.uint16)  # 1: brain
    numbers[1:3] = 2  # cortex
    numbers[20:22, 10:14, 4:8] = 3  # ventricles
    names = {1: "brain", 2: "cortex", 3: "ventricles", 4: "posterior"}
    numbers[5:20, 24:27, 1] = 4
    mask = box((4, 6), (5, 8), (5, 7)) | box((16, 19), (10, 13), (5, 7))
    visit = visit_images(mask, np.eye(4), regions=BrainRegions(numbers, names))
    found = measure_interval(visit, visit, STILL)
    # 18 and 12 voxels; the first is at most 4 mm from the ventricles, the second 2 to 3 mm from
    # the cortex and more than 10 mm from the ventricles.
    assert found.locations == ["periventricular", "juxtacortical"]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_locations_are_those_of_the_tables_of_the_scan(seed):
    # Distances count from the middles of voxels: on a finer grid, some lesions would be elsewhere.
    rng = np.random.default_rng(seed)
    numbers = box((1, 23), (1, 27), (1, 11)).astype(np.uint16)
    numbers[1:3], numbers[10:14, 10:14, 4:8] = 2, 3
    numbers[:, 20:27, 1:3] = 4
    names = {1: "brain", 2: "cortex", 3: "ventricles", 4: "posterior"}
    mask = np.zeros(SHAPE, bool)
    for x, y, z in rng.integers((3, 1, 1), (20, 24, 10), (6, 3)):
        mask[x : x + 3, y : y + 3, z : z + 1] = True
    regions = BrainRegions(numbers, names)
    visit = visit_images(mask, THICK, regions=regions)
    found = measure_interval(visit, visit, STILL)
    lesions = lesions_of_mask(mask, voxel_volume_mm3=4)
    own = measure_burden(lesions, Anatomy.of(regions.masks(), mask, THICK)).location_of_lesions
    # Lesions with a gap of up to 2 mm are one in a comparison.
    if len(found.locations) == lesions.count:
        assert sorted(found.locations) == sorted(own)


@pytest.fixture(scope="module")
def registered():
    """A head that was turned by 6° and shifted by 5 mm, both ways round; boxes as lesions."""
    pytest.importorskip("SimpleITK")
    affine = np.diag([6.0, 6.0, 7.0, 1.0])
    image = head((26, 30, 14))
    mask = box((9, 12), (14, 17), (6, 9), shape=image.shape)
    one = replace(visit_images(mask, affine), scan=as_scan(image, affine, "one.nii"))
    pose = turned(6, (5, 0, 0))
    other = replace(one, scan=as_scan(image, pose @ affine, "other.nii"))
    transforms = [find_halfway(a.scan, b.scan) for a, b in ((one, other), (other, one))]
    return one, other, pose, transforms


def test_the_registration_is_the_same_both_ways_round(registered):
    _, _, _, (forward, backward) = registered
    # Two runs of SimpleITK differ by about 1e-6 mm.
    np.testing.assert_allclose(forward.before, backward.after, atol=1e-4)
    np.testing.assert_allclose(forward.after, backward.before, atol=1e-4)


def test_a_moved_copy_of_a_scan_is_stable(registered):
    one, other, pose, (forward, _) = registered
    left = inverse_of(forward.before) @ forward.after @ pose  # the identity if it is exact
    middle = one.scan.affine @ [*(np.array(one.scan.shape) - 1) / 2, 1]
    assert np.linalg.norm((left @ middle - middle)[:3]) < 0.5
    assert forward.degrees == pytest.approx(6, abs=0.5)
    found = measure_interval(one, other, forward)
    assert found.matched.classes == ["stable"]
    assert found.change_ml == pytest.approx(0, abs=1e-12)
    center = other.scan.affine @ [10, 15, 7, 1]  # of voxels 9 to 11, 14 to 16 and 6 to 8
    np.testing.assert_allclose(found.centers_mm, [center[:3]], atol=0.5)
