"""The phantom: reproducible, with exact lesion masks, not segmentable by a threshold."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from wmh_runtime.errors import InputError
from wmh_runtime.phantom import shapes
from wmh_runtime.phantom.head import Phantom, generate_phantom
from wmh_runtime.phantom.sites import SITES
from wmh_runtime.phantom.waves import WaveField, sheet_distance


def at(*points: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.array(points, np.float32).T


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return generate_phantom(11, "utrecht", 10)


@pytest.fixture(scope="module")
def healthy() -> Phantom:
    return generate_phantom(11, "utrecht", 0)


@pytest.fixture(scope="module")
def coarse() -> Phantom:
    with coarse_phantoms():
        return generate_phantom(11, "utrecht", 10)


@pytest.fixture(scope="module")
def sagittal() -> Phantom:
    return generate_phantom(12, "amsterdam", 40)


@pytest.fixture(scope="module")
def small() -> Phantom:
    return generate_phantom(13, "singapore", 1)


def test_the_same_arguments_give_identical_arrays(coarse: Phantom) -> None:
    with coarse_phantoms():
        again = generate_phantom(11, "utrecht", 10)
    assert np.array_equal(again.image, coarse.image)
    assert np.array_equal(again.lesions, coarse.lesions)
    assert np.array_equal(again.affine, coarse.affine)
    assert again.properties == coarse.properties


def test_another_seed_or_site_gives_another_head(coarse: Phantom) -> None:
    with coarse_phantoms():
        other = generate_phantom(12, "utrecht", 10)
    assert np.mean(other.image != coarse.image) > 0.9
    assert not np.allclose(other.affine, coarse.affine)


def test_the_load_changes_only_the_lesions(phantom: Phantom, healthy: Phantom) -> None:
    assert np.array_equal(phantom.affine, healthy.affine)
    is_equal = phantom.image == healthy.image
    assert np.mean(is_equal) > 0.8
    assert not np.any(is_equal[phantom.lesions == 1])


def test_the_lesion_volume_is_the_requested_load(
    phantom: Phantom, sagittal: Phantom, small: Phantom
) -> None:
    for made in (phantom, sagittal, small):
        voxel_ml = SITES[made.properties.site].voxel_ml
        tolerance_ml = max(0.01 * made.properties.load_ml, 3 * voxel_ml)
        assert abs(made.properties.volume_ml - made.properties.load_ml) <= tolerance_ml


def test_a_load_of_zero_gives_no_lesion(healthy: Phantom) -> None:
    assert healthy.lesions.sum() == 0
    assert healthy.properties.volume_ml == 0
    assert healthy.properties.lesion_count == 0


def test_properties_agree_with_the_mask(phantom: Phantom, sagittal: Phantom) -> None:
    # 0.96 · 0.96 · 3 mm³ = 2.7648 mm³ and 1.2 · 0.98 · 3 mm³ = 3.528 mm³.
    for made, voxel_mm3 in ((phantom, 2.7648), (sagittal, 3.528)):
        assert made.properties.volume_ml == pytest.approx(made.lesions.sum() * voxel_mm3 / 1000)
        assert made.properties.lesion_count == cc3d.connected_components(made.lesions).max()
        assert 7.3 <= made.properties.contrast_to_noise <= 18.9  # 0.55 / 0.075 to 0.85 / 0.045


def test_types_of_scan_and_mask(phantom: Phantom) -> None:
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
    # The determinant is positive: two of the three axes are reversed.
    assert np.linalg.det(columns) == pytest.approx(np.prod(spacing_mm))
    # Axes to left, posterior and superior, with an angle of at most 20 degrees.
    cosines = np.diag(columns) / spacing_mm
    assert np.all(cosines * (-1, -1, 1) > np.cos(np.radians(20)))
    assert made.affine[3] == pytest.approx((0, 0, 0, 1))


def test_the_noise_in_the_air_is_that_of_a_magnitude_image(phantom: Phantom) -> None:
    corner = phantom.image[:20, :20].astype(float)
    assert corner.min() >= 0
    # Rayleigh distribution: standard deviation / mean is √(4/π − 1) = 0.5227.
    assert corner.std() / corner.mean() == pytest.approx(0.5227, abs=0.02)


def test_lesions_are_brighter_than_the_same_voxels_without_lesions(
    phantom: Phantom, healthy: Phantom
) -> None:
    inside = phantom.lesions == 1
    gain = phantom.image[inside].astype(float) / healthy.image[inside].astype(float)
    assert np.median(gain) > 1.25
    air = np.median(phantom.image[:20, :20])
    assert np.mean(phantom.image[inside] > 5 * air) > 0.99


def test_every_visible_change_is_connected_to_the_mask(phantom: Phantom, healthy: Phantom) -> None:
    change = phantom.image.astype(float) - healthy.image.astype(float)
    level = 0.6 * np.median(change[phantom.lesions == 1])
    spots = cc3d.connected_components(change > level, connectivity=26)
    touched = np.unique(spots[phantom.lesions == 1])
    assert set(range(1, spots.max() + 1)) <= set(touched.tolist())


def test_a_head_without_lesions_has_other_bright_tissue(phantom: Phantom, healthy: Phantom) -> None:
    typical = np.median(phantom.image[phantom.lesions == 1])
    assert np.count_nonzero(healthy.image > typical) > 2 * phantom.lesions.sum()


@pytest.mark.parametrize(
    ("seed", "site", "load_ml", "message"),
    [
        (1, "berlin", 5.0, "got site 'berlin', expected one of utrecht, singapore"),
        (-1, "utrecht", 5.0, "got seed -1"),
        (1, "utrecht", -0.5, "load of -0.5 mL"),
        (1, "utrecht", 61.0, "load of 61.0 mL"),
        (1, "utrecht", float("nan"), "load of nan mL"),
    ],
)
def test_invalid_arguments_are_refused(seed: int, site: str, load_ml: float, message: str) -> None:
    with pytest.raises(InputError) as caught:
        generate_phantom(seed, site, load_ml)
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
    # Radius 1 at x = 0 and 3 at x = 10, so 2 at x = 5.
    chain = [(0.0, 0.0, 0.0, 1.0), (10.0, 0.0, 0.0, 3.0), (10.0, 10.0, 0.0, 1.0)]
    points = at((5, 0, 7), (-4, 0, 0), (10, 14, 0), (5, -2, 0))
    assert shapes.capsule_chain(points, chain) == pytest.approx([5, 3, 3, 0], abs=1e-5)


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0.5, 8))
def test_smooth_union_is_the_nearer_shape_except_at_the_seam(
    first: float, second: float, blend_mm: float
) -> None:
    a, b = np.array([first], np.float32), np.array([second], np.float32)
    joined = float(shapes.smooth_union(a, b, blend_mm)[0])
    # At the seam, a smooth union is up to blend/4 nearer than both shapes, and never farther.
    assert min(first, second) - blend_mm / 4 - 1e-4 <= joined <= min(first, second) + 1e-4
    if abs(first - second) >= blend_mm:
        assert joined == pytest.approx(min(first, second), abs=1e-4)


def test_coverage_is_a_ramp_across_the_surface() -> None:
    # Edge of 2 mm: at a depth of 0.5 mm the coverage is ½ + 0.5/2 = ¾.
    distance = np.array([-3, -0.5, 0, 1, 2], np.float32)
    assert shapes.coverage(distance, 2.0) == pytest.approx([1, 0.75, 0.5, 0, 0])


def test_sheet_distance_of_one_wave_is_exact() -> None:
    # sin(2πx/8) is zero at x = 0, 4, 8: 1 mm away at x = 1, 1.5 mm away at x = 2.5 and 5.5.
    wave = WaveField(np.array([[2 * np.pi / 8, 0, 0]], np.float32), np.zeros(1, np.float32))
    value, gradient = wave.value_and_gradient(at((1, 5, 0), (2.5, 0, 9), (5.5, 1, 1)))
    assert sheet_distance(value, gradient, wave.wave_number) == pytest.approx([1, 1.5, 1.5])


def test_wave_fields_have_unit_variance_and_a_correct_gradient() -> None:
    field = WaveField.draw(np.random.default_rng(3), 24, 12.0)
    points = np.random.default_rng(4).uniform(-300, 300, (3, 40000)).astype(np.float32)
    value, gradient = field.value_and_gradient(points)
    assert np.array_equal(value, field.value(points))
    assert value.mean() == pytest.approx(0, abs=0.03)
    assert value.std() == pytest.approx(1, abs=0.03)
    step = np.array([[0.0], [0.02], [0.0]], np.float32)
    slope = (field.value(points + step) - field.value(points - step)) / 0.04
    assert np.abs(slope - gradient[1]).max() < 0.02


def test_a_t1_of_the_same_head_has_dark_cortex_and_dark_lesions():
    with coarse_phantoms():
        alone = generate_phantom(11, "utrecht", 10)
        both = generate_phantom(11, "utrecht", 10, with_t1=True)
    np.testing.assert_array_equal(both.image, alone.image)  # the FLAIR is the same
    np.testing.assert_array_equal(both.lesions, alone.lesions)
    assert alone.t1 is None
    assert both.t1 is not None
    assert both.t1.shape == both.image.shape
    lesion = both.lesions > 0
    around = np.zeros_like(lesion)
    for axis in range(3):
        for step in (-2, 2):
            around |= np.roll(lesion, step, axis)
    around &= ~lesion
    for image, brighter in ((both.image, True), (both.t1, False)):
        assert (np.median(image[lesion]) > np.median(image[around])) == brighter
