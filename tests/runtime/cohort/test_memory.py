"""What is free, and what a scan will take."""

import tracemalloc

import numpy as np
import pytest

from tests.toys import as_scan
from wmh_runtime.cohort.case.memory import _BYTES_OF_PICTURES, estimate_scan_bytes, format_gb
from wmh_runtime.image_quality.quality import measure_quality
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.postprocessing.postprocess import postprocess
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess
from wmh_runtime.preprocessing.slices.planes import PLANES
from wmh_runtime.types import NetworkShape, Prediction

REGIONS = ("brain", "ventricles", "white", "cortex", "deepgray", "posterior")


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
    one = {"images": 1, "outputs": 1}
    along_x = estimate_scan_bytes((20, 200, 300), upright, network, **one)
    along_z = estimate_scan_bytes((200, 300, 20), np.diag([1.0, 1, 5, 1]), network, **one)
    assert along_x == along_z
    more = estimate_scan_bytes((40, 200, 300), upright, network, **one)
    none = estimate_scan_bytes((0, 200, 300), upright, network, **one)
    assert more - along_x == along_x - none
    two = {"images": 2, "outputs": 1}
    assert estimate_scan_bytes((20, 200, 300), upright, NetworkShape(2, 1, 100), **two) > along_x
    # Another network adds its slices, here 20 of 100²: its input, and three copies before it.
    both = estimate_scan_bytes(
        (20, 200, 300), upright, network, **one, region_network=NetworkShape(1, 2, 100)
    )
    assert both - along_x == pytest.approx(1.1 * 4 * 20 * 100**2 * 4, abs=2)


def test_the_slices_of_all_planes_are_counted_unless_voxels_are_too_long():
    network, one = NetworkShape(1, 1, 100), {"images": 1, "outputs": 1}
    three = {"planes": PLANES}
    shape = (20, 30, 40)  # axial slices: 40, coronal 30, sagittal 20
    axial = estimate_scan_bytes(shape, np.diag([2.0, 2, 2, 1]), network, **one)
    all_planes = estimate_scan_bytes(shape, np.diag([2.0, 2, 2, 1]), network, **one, **three)
    assert all_planes - axial == pytest.approx(1.1 * 4 * (20 + 30) * 100**2 * 4, abs=2)
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
    assert regions - axial == pytest.approx(1.1 * 4 * (40 + 30) * 100**2 * 4, abs=2)


def test_registration_takes_memory_for_the_further_images():
    case = ((20, 30, 40), np.eye(4), NetworkShape(2, 1, 100))
    shapes, count = [(10, 10, 10), (5, 5, 8)], {"images": 2, "outputs": 1}
    plain = estimate_scan_bytes(*case, **count, other_shapes=shapes)
    registered = estimate_scan_bytes(*case, **count, registered_shapes=shapes)
    assert plain - estimate_scan_bytes(*case, **count) == 3 * 4 * (1000 + 200)
    assert registered - plain == 5 * 4 * (1000 + 200)


def cases():
    """Images of a scan whose head fills most of the image, with its affine."""
    x, y, z = np.ogrid[-1:1:120j, -1:1:120j, -1:1:90j]
    head = x**2 + y**2 + z**2 < 0.95
    noise = np.random.default_rng(0).normal(100, 8, head.shape)
    flair = np.where(head, noise + 10 * x, 0).astype(np.float32)
    t1 = np.where(head, noise + 30 * y, 0).astype(np.float32)
    return {"flair": flair, "t1": t1}, np.diag([2.0, 2, 2, 1])


@pytest.mark.parametrize(
    ("normalization", "images", "outputs", "regions", "context", "planes"),
    [
        ("z-score", 1, 1, (), 0, PLANES[:1]),
        ("percentile", 1, 1, (), 0, PLANES[:1]),
        ("white-matter", 1, 1, (), 0, PLANES[:1]),
        ("white-matter", 1, 1, REGIONS, 1, PLANES[:1]),
        ("white-matter", 1, 1, REGIONS, 1, PLANES),
        ("z-score", 2, 2, (), 1, PLANES[:1]),
        ("z-score", 2, 1, REGIONS, 1, PLANES),
    ],
)
def test_a_scan_takes_no_more_than_estimated(
    normalization, images, outputs, regions, context, planes
):
    voxels, affine = cases()
    channels = list(voxels)[:images]
    settings = Preprocessing(
        pixel_size_mm=2,
        size_px=128,
        normalization=normalization,
        context_slices=context,
        planes=planes,
        slab_mm=3,
    )
    network = settings.network_shape(images, outputs + len(regions))
    tracemalloc.start()
    try:
        scans = [as_scan(voxels[name].copy(), affine) for name in channels]
        preprocessed = preprocess(scans, settings)
        probability = np.zeros((len(preprocessed.slices), *network.output_shape), np.float32)
        probability[:, :, 30:90, 30:90] = 0.6  # a large brain
        probability[::10, :outputs, 40:50, 40:50] = 0.9
        preprocessed = preprocessed.without_slices()
        found = postprocess(
            Prediction(probability),
            preprocessed,
            [Output(name=f"o{k}", threshold=0.7, min_lesion_mm3=0) for k in range(outputs)],
            regions,
            channels,
        )
        del probability
        labels = found["o0"].lesions.labels
        measure_quality(preprocessed.scan, found.head, found.regions, labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    estimate = estimate_scan_bytes(
        scans[0].shape, affine, network, images=images, outputs=outputs, planes=planes
    )
    assert peak <= estimate - _BYTES_OF_PICTURES <= 1.5 * peak
