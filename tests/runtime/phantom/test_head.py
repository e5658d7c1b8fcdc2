"""The procedural head: reproducible, exact about its lesions, and hard for a threshold."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.phantom import shapes
from wmh_runtime.phantom.head import Phantom, make_phantom
from wmh_runtime.phantom.sites import SITES
from wmh_runtime.phantom.waves import WaveField, sheet_distance


def at(*points: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.array(points, np.float32).T


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(11, "utrecht", 10)


@pytest.fixture(scope="module")
def healthy() -> Phantom:
    return make_phantom(11, "utrecht", 0)


@pytest.fixture(scope="module")
def sagittal() -> Phantom:
    return make_phantom(12, "amsterdam", 40)


@pytest.fixture(scope="module")
def small() -> Phantom:
    return make_phantom(13, "singapore", 1)


def test_same_arguments_give_the_same_bits(phantom: Phantom) -> None:
    again = make_phantom(11, "utrecht", 10)
    assert np.array_equal(again.image, phantom.image)
    assert np.array_equal(again.lesions, phantom.lesions)
    assert np.array_equal(again.affine, phantom.affine)
    assert again.facts == phantom.facts


def test_another_seed_or_site_gives_another_head(phantom: Phantom) -> None:
    other = make_phantom(12, "utrecht", 10)
    assert np.mean(other.image != phantom.image) > 0.9
    assert not np.allclose(other.affine, phantom.affine)


def test_the_load_changes_lesions_and_not_the_head(phantom: Phantom, healthy: Phantom) -> None:
    assert np.array_equal(phantom.affine, healthy.affine)
    far = phantom.image == healthy.image
    assert np.mean(far) > 0.8
    assert not np.any(far[phantom.lesions == 1])


def test_volume_is_the_load(phantom: Phantom, sagittal: Phantom, small: Phantom) -> None:
    for made in (phantom, sagittal, small):
        voxel_ml = SITES[made.facts.site].voxel_ml
        tolerance_ml = max(0.01 * made.facts.load_ml, 3 * voxel_ml)
        assert abs(made.facts.volume_ml - made.facts.load_ml) <= tolerance_ml


def test_no_load_gives_no_lesion(healthy: Phantom) -> None:
    assert healthy.lesions.sum() == 0
    assert healthy.facts.volume_ml == 0
    assert healthy.facts.lesion_count == 0


def test_facts_count_the_mask(phantom: Phantom, sagittal: Phantom) -> None:
    # 0.96 · 0.96 · 3 mm³ = 2.7648 mm³ and 1.2 · 0.98 · 3 mm³ = 3.528 mm³.
    for made, voxel_mm3 in ((phantom, 2.7648), (sagittal, 3.528)):
        assert made.facts.volume_ml == pytest.approx(made.lesions.sum() * voxel_mm3 / 1000)
        assert made.facts.lesion_count == cc3d.connected_components(made.lesions).max()
        assert 7.3 <= made.facts.contrast_to_noise <= 18.9  # 0.55 / 0.075 to 0.85 / 0.045


def test_arrays_are_raw_scans_and_binary_masks(phantom: Phantom) -> None:
    assert phantom.image.dtype == np.uint16
    assert phantom.lesions.dtype == np.uint8
    assert set(np.unique(phantom.lesions)) == {0, 1}
    assert phantom.affine.dtype == np.float64


@pytest.mark.parametrize(
    ("name", "shape", "spacing_mm"),
    [
        ("phantom", (240, 240, 48), (0.96, 0.96, 3.0)),
        ("small", (232, 256, 48), (1.0, 1.0, 3.0)),
        ("sagittal", (132, 256, 83), (1.2, 0.98, 3.0)),
    ],
)
def test_grid_and_affine_are_those_of_the_site(
    name: str,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    request: pytest.FixtureRequest,
) -> None:
    made: Phantom = request.getfixturevalue(name)
    assert made.image.shape == made.lesions.shape == shape
    columns = made.affine[:3, :3]
    assert np.linalg.norm(columns, axis=0) == pytest.approx(spacing_mm)
    # Right-handed: two of the three axes are reversed.
    assert np.linalg.det(columns) == pytest.approx(np.prod(spacing_mm))
    # First index to the left, second to the back, third up, none more than 20 degrees off.
    cosines = np.diag(columns) / spacing_mm
    assert np.all(cosines * (-1, -1, 1) > np.cos(np.radians(20)))
    assert made.affine[3] == pytest.approx((0, 0, 0, 1))


def test_air_holds_noise_of_a_magnitude_image(phantom: Phantom) -> None:
    corner = phantom.image[:20, :20].astype(float)
    assert corner.min() >= 0
    # A Rayleigh distribution: standard deviation over mean is √(4/π − 1) = 0.5227.
    assert corner.std() / corner.mean() == pytest.approx(0.5227, abs=0.02)


def test_lesions_are_brighter_than_the_same_place_without_them(
    phantom: Phantom, healthy: Phantom
) -> None:
    inside = phantom.lesions == 1
    gain = phantom.image[inside].astype(float) / healthy.image[inside].astype(float)
    assert np.median(gain) > 1.25
    air = np.median(phantom.image[:20, :20])
    assert np.mean(phantom.image[inside] > 5 * air) > 0.99


def test_every_visible_change_touches_the_mask(phantom: Phantom, healthy: Phantom) -> None:
    change = phantom.image.astype(float) - healthy.image.astype(float)
    level = 0.6 * np.median(change[phantom.lesions == 1])
    spots = cc3d.connected_components(change > level, connectivity=26)
    touched = np.unique(spots[phantom.lesions == 1])
    assert set(range(1, spots.max() + 1)) <= set(touched.tolist())


def test_a_head_without_lesions_still_holds_things_as_bright(
    phantom: Phantom, healthy: Phantom
) -> None:
    typical = np.median(phantom.image[phantom.lesions == 1])
    assert np.count_nonzero(healthy.image > typical) > 2 * phantom.lesions.sum()


@pytest.mark.parametrize(
    ("seed", "site", "load_ml", "message"),
    [
        (1, "berlin", 5.0, "no site is called 'berlin'. Choose one of utrecht, singapore"),
        (-1, "utrecht", 5.0, "the seed is -1"),
        (1, "utrecht", -0.5, "load of -0.5 mL"),
        (1, "utrecht", 61.0, "load of 61.0 mL"),
        (1, "utrecht", float("nan"), "load of nan mL"),
    ],
)
def test_unusable_arguments_are_refused(seed: int, site: str, load_ml: float, message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_phantom(seed, site, load_ml)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ellipsoid_distance() -> None:
    # A sphere of 5 mm about (1, 2, 3): its center is 5 mm deep, a point 8 mm away 3 mm outside.
    sphere = shapes.ellipsoid(at((1, 2, 3), (9, 2, 3), (1, 2, 0)), (1, 2, 3), (5, 5, 5))
    assert sphere == pytest.approx([-5, 3, -2], abs=1e-5)
    # On the surface of an ellipsoid, along each axis, the distance is zero.
    surface = at((3, 0, 0), (0, -4, 0), (0, 0, 5))
    assert shapes.ellipsoid(surface, (0, 0, 0), (3, 4, 5)) == pytest.approx([0, 0, 0], abs=1e-5)


def test_superellipsoid_distance() -> None:
    # With n = 2 and equal radii it is a sphere; x = 11 is 1 mm outside, x = 9 is 1 mm inside.
    points = at((11, 0, 0), (0, 9, 0))
    assert shapes.superellipsoid(points, (10, 10, 10), 2) == pytest.approx([1, -1], abs=1e-3)
    # With n = 4, (a, a, 0) 2^(-1/4) lies on the surface.
    corner = 10 * 2**-0.25
    on_surface = shapes.superellipsoid(at((corner, corner, 0)), (10, 10, 10), 4)
    assert on_surface == pytest.approx([0], abs=1e-3)


def test_capsule_chain_distance() -> None:
    # From radius 1 at x = 0 to radius 3 at x = 10: at x = 5 it is 2 mm thick.
    chain = [(0.0, 0.0, 0.0, 1.0), (10.0, 0.0, 0.0, 3.0), (10.0, 10.0, 0.0, 1.0)]
    points = at((5, 0, 7), (-4, 0, 0), (10, 14, 0), (5, -2, 0))
    assert shapes.capsule_chain(points, chain) == pytest.approx([5, 3, 3, 0], abs=1e-5)


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0.5, 8))
def test_smooth_union_is_the_nearer_shape_away_from_the_seam(
    first: float, second: float, blend_mm: float
) -> None:
    a, b = np.array([first], np.float32), np.array([second], np.float32)
    joined = float(shapes.smooth_union(a, b, blend_mm)[0])
    # At the seam a smooth union is blend/4 nearer than either; it is never farther.
    assert min(first, second) - blend_mm / 4 - 1e-4 <= joined <= min(first, second) + 1e-4
    if abs(first - second) >= blend_mm:
        assert joined == pytest.approx(min(first, second), abs=1e-4)


def test_coverage_is_a_ramp_across_the_surface() -> None:
    # Over an edge of 2 mm: 0.5 mm deep is ½ + 0.5/2 = ¾ covered.
    distance = np.array([-3, -0.5, 0, 1, 2], np.float32)
    assert shapes.coverage(distance, 2.0) == pytest.approx([1, 0.75, 0.5, 0, 0])


def test_sheet_distance_of_one_wave_is_exact() -> None:
    # sin(2πx/8) is zero at x = 0, 4, 8: 1 mm away at x = 1, 1.5 mm away at x = 2.5 and 5.5.
    wave = WaveField(np.array([[2 * np.pi / 8, 0, 0]], np.float32), np.zeros(1, np.float32))
    value, gradient = wave.value_and_gradient(at((1, 5, 0), (2.5, 0, 9), (5.5, 1, 1)))
    assert sheet_distance(value, gradient, wave.wave_number) == pytest.approx([1, 1.5, 1.5])


def test_wave_fields_have_unit_variance_and_a_true_gradient() -> None:
    field = WaveField.draw(np.random.default_rng(3), 24, 12.0)
    points = np.random.default_rng(4).uniform(-300, 300, (3, 40000)).astype(np.float32)
    value, gradient = field.value_and_gradient(points)
    assert np.array_equal(value, field.value(points))
    assert value.mean() == pytest.approx(0, abs=0.03)
    assert value.std() == pytest.approx(1, abs=0.03)
    step = np.array([[0.0], [0.02], [0.0]], np.float32)
    slope = (field.value(points + step) - field.value(points - step)) / 0.04
    assert np.abs(slope - gradient[1]).max() < 0.02
