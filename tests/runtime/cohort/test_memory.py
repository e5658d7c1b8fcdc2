"""What is free, and what a scan will take."""

import numpy as np
import pytest

from wmh_runtime.cohort.case.memory import estimate_scan_bytes, format_gb
from wmh_runtime.preprocessing.slices.planes import PLANES
from wmh_runtime.types import NetworkShape


@pytest.mark.parametrize(
    ("count", "says"),
    [(9 * 10**9, "9"), (4_500_000_000, "4.5"), (12_400_000_000, "12"), (60_000_000, "0.06")],
)
def test_gigabytes(count, says):
    assert format_gb(count) == says


def test_the_slices_are_counted_along_the_axis_that_is_sliced():
    # 20 slices along x here: the affine says that x is superior.
    upright = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [5, 0, 0, 0], [0, 0, 0, 1]], float)
    network = NetworkShape(1, 1, 100)
    one = {"images": 1, "regions": 0}
    along_x = estimate_scan_bytes((20, 200, 300), upright, network, **one)
    along_z = estimate_scan_bytes((200, 300, 20), np.diag([1.0, 1, 5, 1]), network, **one)
    assert along_x == along_z
    more = estimate_scan_bytes((40, 200, 300), upright, network, **one)
    none = estimate_scan_bytes((0, 200, 300), upright, network, **one)
    assert more - along_x == along_x - none
    two = {"images": 2, "regions": 0}
    assert estimate_scan_bytes((20, 200, 300), upright, NetworkShape(2, 1, 100), **two) > along_x
    # Another network adds its slices, here 20 of 100² with three channels and outputs.
    both = estimate_scan_bytes(
        (20, 200, 300), upright, network, **one, region_network=NetworkShape(1, 2, 100)
    )
    assert both - along_x == pytest.approx(1.2 * 4 * 20 * 100**2 * 3, abs=2)


def test_the_slices_of_all_planes_are_counted_unless_voxels_are_too_long():
    network, one = NetworkShape(1, 1, 100), {"images": 1, "regions": 0}
    three = {"planes": PLANES}
    shape = (20, 30, 40)  # axial slices: 40, coronal 30, sagittal 20
    axial = estimate_scan_bytes(shape, np.diag([2.0, 2, 2, 1]), network, **one)
    all_planes = estimate_scan_bytes(shape, np.diag([2.0, 2, 2, 1]), network, **one, **three)
    assert all_planes - axial == pytest.approx(1.2 * 4 * (20 + 30) * 100**2 * 2, abs=2)
    thick = np.diag([2.0, 2, 7, 1])
    assert estimate_scan_bytes(shape, thick, network, **one, **three) == axial
    regions = estimate_scan_bytes(
        shape,
        np.diag([2.0, 2, 2, 1]),
        network,
        **one,
        region_network=network,
        region_planes=("axial", "coronal"),
    )
    assert regions - axial == pytest.approx(1.2 * 4 * (40 + 30) * 100**2 * 2, abs=2)


def test_registration_takes_memory_for_the_further_images():
    case = ((20, 30, 40), np.eye(4), NetworkShape(2, 1, 100))
    others = {"images": 2, "regions": 0, "other_shapes": [(10, 10, 10), (5, 5, 8)]}
    plain = estimate_scan_bytes(*case, **others)
    registered = estimate_scan_bytes(*case, **others, registered=True)
    assert registered - plain == 5 * 4 * (1000 + 200)
    assert plain - estimate_scan_bytes(*case, images=2, regions=0) == 3 * 4 * (1000 + 200)


def test_neighbors_and_regions_need_less_than_images_and_outputs():
    shape, affine = (256, 256, 256), np.eye(4)
    plain = estimate_scan_bytes(shape, affine, NetworkShape(1, 1, 224), images=1, regions=0)
    base = estimate_scan_bytes(shape, affine, NetworkShape(3, 7, 224), images=1, regions=6)
    images = estimate_scan_bytes(shape, affine, NetworkShape(3, 7, 224), images=3, regions=0)
    assert plain < base < 2.5 * plain < images
