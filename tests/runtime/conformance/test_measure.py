"""Parity, tolerances and reference outputs, on numbers that are easy to check."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from tests.toys import TOY_SIZE_PX, perfect_parity
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.bundle.parity_record import TOLERANCES
from wmh_runtime.conformance.measure import measure_parity
from wmh_runtime.conformance.probe_slices import ProbeSlices
from wmh_runtime.conformance.reference_outputs import (
    ReferenceOutputs,
    compute_reference_outputs,
    load_reference_outputs,
)
from wmh_runtime.errors import BackendError, BundleError
from wmh_runtime.precision import Precision
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import NetworkShape

SHAPE = NetworkShape(channels=1, outputs=1, size_px=2)


class FixedOutput(FakeBackend):
    """Returns the same probabilities for every slice."""

    def __init__(self, probability, shape=SHAPE):
        super().__init__(shape)
        self.probability = np.asarray(probability, np.float32)

    def _execute(self, batch):
        return self.probability[None]


def reference_of(probability, pixel_ml=0.5) -> ReferenceOutputs:
    expected = np.asarray(probability, np.float32)[None]
    slices = np.zeros((1, 1, 2, 2), np.float32)
    probes = ProbeSlices("phantoms", slices, np.full(1, pixel_ml, np.float32))
    thresholds = {f"output{k}": 0.5 for k in range(expected.shape[1])}
    return ReferenceOutputs(probes, {1: expected}, thresholds)


def measure(expected, outputs):
    shape = NetworkShape(1, len(expected), 2)
    with FixedOutput(outputs, shape) as backend:
        return measure_parity(reference_of(expected), backend, 1)


def test_all_values_of_a_parity():
    # Masks at threshold 0.5: three pixels each, two of them in common. Dice: 2 · 2 / (3 + 3).
    parity = measure([[[0.9, 0.8], [0.7, 0.1]]], [[[0.9, 0.8], [0.3, 0.6]]])
    assert parity.mask_dice == pytest.approx(4 / 6)
    assert parity.max_abs_difference == pytest.approx(0.5)
    assert parity.mean_abs_difference == pytest.approx((0.4 + 0.5) / 4)
    (output,) = parity.outputs
    assert (output.reference_ml, output.backend_ml) == (1.5, 1.5)  # three pixels of 0.5 mL
    assert parity.volume_percent == 0
    parity = measure([[[0.9, 0.8], [0.7, 0.1]]], [[[0.9, 0.8], [0.3, 0.1]]])
    assert parity.outputs[0].backend_ml == 1
    assert parity.volume_percent == pytest.approx(100 / 3)


def test_the_lowest_dice_of_the_outputs_counts():
    common = [[0.9, 0.9], [0.9, 0.9]]
    parity = measure([common, [[0.9, 0], [0, 0]]], [common, [[0, 0.9], [0, 0]]])
    assert parity.mask_dice == 0


def test_volume_errors_of_two_outputs_do_not_cancel():
    one, two = [[0.9, 0], [0, 0]], [[0.9, 0.9], [0, 0]]
    parity = measure([one, two], [two, one])
    assert parity.volume_percent == pytest.approx(100)  # first output: 2 pixels instead of 1


def test_output_with_two_empty_masks_is_not_compared():
    common, empty = [[0.9, 0.9], [0, 0]], [[0, 0], [0, 0]]
    parity = measure([common, empty], [common, empty])
    assert parity.mask_dice == 1
    assert parity.not_compared == ["output1"]
    assert "output1 not compared: both masks are empty" in str(parity)


def test_output_that_only_the_backend_finds():
    common, empty = [[0.9, 0.9], [0, 0]], [[0, 0], [0, 0]]
    parity = measure([common, empty], [common, common])
    assert parity.mask_dice == 0
    assert parity.volume_percent == np.inf


def test_reference_without_lesions_raises_an_error():
    empty = np.zeros((1, 2, 2))
    with pytest.raises(BackendError, match=r"finds no lesion in the phantoms of the parity check"):
        measure(empty, empty)


@pytest.mark.parametrize(
    ("precision", "values", "message"),
    [
        ("fp32", {"max_abs_difference": 1e-4}, ""),
        ("fp32", {"max_abs_difference": 1.1e-4}, "probability differs by up to 0.00011"),
        ("fp16", {"mask_dice": 0.999, "max_abs_difference": 0.3}, ""),
        ("fp16", {"mask_dice": 0.9989}, "mask Dice is 0.9989, at least 0.999 is required"),
        ("int8", {"mask_dice": 0.99, "backend_ml": 0.981}, ""),
        ("int8", {"mask_dice": 0.9899}, "mask Dice is 0.9899, at least 0.99 is required"),
        ("int8", {"backend_ml": 0.979}, "volume differs by 2.1 %, at most 2 %"),
        # Nine pixels and eight pixels: Dice 16/17 and volume difference 11 %, but only rounding.
        ("int8", {"mask_dice": 0.941, "backend_ml": 1.11, "differing_pixels": 4}, ""),
        ("int8", {"mask_dice": 0.941, "differing_pixels": 5}, "mask Dice is 0.9410"),
        # Four missing pixels of four are not rounding. Nor are two pixels at another place.
        ("int8", {"mask_dice": 0, "backend_ml": 0, "differing_pixels": 4}, "mask Dice is 0.0000"),
        ("int8", {"mask_dice": 0.75, "differing_pixels": 2}, "mask Dice is 0.7500"),
        ("bf16", {"backend_ml": 1.021}, "volume differs by 2.1 %, at most 2 %"),
    ],
)
def test_violation(precision, values, message):
    violation = perfect_parity(precision=precision, **values).violation
    assert violation.startswith(message)
    assert bool(violation) == bool(message)


@pytest.mark.parametrize(
    ("precision", "values", "share"),
    [
        ("fp32", {"max_abs_difference": 5e-5}, 0.5),
        # Half of the Dice tolerance of 0.01, and a fifth of the volume tolerance of 2 %.
        ("int8", {"mask_dice": 0.995, "backend_ml": 1.004}, 0.5),
        ("int8", {"mask_dice": 0.999, "backend_ml": 0.97}, 1.5),
        ("int8", {"mask_dice": 0.9, "differing_pixels": 4}, 0.0),
    ],
)
def test_share_of_tolerance(precision, values, share):
    assert perfect_parity(precision=precision, **values).share_of_tolerance == pytest.approx(share)


def test_parity_as_text():
    values = {"views": 1, "slices": 8, "mask_dice": 0.995, "backend_ml": 1.01}
    assert str(perfect_parity(precision="int8", **values)) == (
        "int8, 1 view, itself, 8 slices of phantoms: mask Dice 0.9950 (minimum 0.99),"
        " volume difference 1.00 % (maximum 2 %), probability difference up to 0.0e+00"
    )
    assert "up to 0.0e+00 (maximum 0.0001)" in str(perfect_parity(precision="fp32"))
    rounded = perfect_parity(precision="int8", mask_dice=0.941, differing_pixels=4)
    assert str(rounded).endswith("accepted: at most 4 pixels differ, as by rounding")


def test_recorded_violation_does_not_cover_a_larger_one():
    known = perfect_parity(precision="int8", mask_dice=0.985)  # 1.5 times the tolerance
    assert perfect_parity(precision="int8", mask_dice=0.975).is_known_violation(known)
    assert not perfect_parity(precision="int8", mask_dice=0.965).is_known_violation(known)
    assert not perfect_parity(precision="int8", mask_dice=0.1).is_known_violation(known)


def test_every_precision_has_a_tolerance_that_can_be_violated():
    assert set(TOLERANCES) == set(get_args(Precision))
    for precision in TOLERANCES:
        worst = {"max_abs_difference": 1, "mask_dice": 0, "backend_ml": 0}
        assert perfect_parity(precision=precision, **worst).violation


def test_eight_views_are_executed_one_by_one():
    # The fake network has all symmetries, so all views give the same result.
    slices = np.random.default_rng(0).normal(size=(3, 1, 4, 4)).astype(np.float16)
    probes = ProbeSlices("phantoms", slices.astype(np.float32), np.ones(3, np.float32))
    with FakeBackend(NetworkShape(1, 1, 4)) as network:
        reference = compute_reference_outputs(
            network, probes, {"wmh": 0.5}, slices_in_eight_views=2
        )
        assert network.batches_executed == 3 + len(VIEWS) * 2
    np.testing.assert_allclose(
        reference.probability[1], 1 / (1 + np.exp(-reference.probes.slices)), atol=1e-6
    )
    np.testing.assert_allclose(reference.probability[8], reference.probability[1][:2], atol=1e-6)


def test_slices_with_the_largest_lesion_area_come_first():
    slices = np.zeros((3, 1, 2, 2), np.float32)
    slices[0, 0, 0, 0] = slices[2, 0, 0] = 1  # pixels above 0.7: one, none, two
    probes = ProbeSlices("phantoms", slices, np.array([1, 2, 3], np.float32))
    with FakeBackend(SHAPE) as network:
        reference = compute_reference_outputs(
            network, probes, {"wmh": 0.7}, slices_in_eight_views=1
        )
    np.testing.assert_array_equal(reference.probes.pixel_ml, [3, 1, 2])
    np.testing.assert_array_equal(reference.probes.slices[0], slices[2])


def test_save_and_load_reference_outputs(toy_bundle, tmp_path):
    reference = load_reference_outputs(load_bundle(toy_bundle))
    for name in ("a.npz", "b.npz"):
        reference.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    loaded = ReferenceOutputs.load(tmp_path / "a.npz", reference.thresholds)
    np.testing.assert_array_equal(loaded.probes.slices, reference.probes.slices)
    assert loaded.probes.slices.shape == (2, 1, TOY_SIZE_PX, TOY_SIZE_PX)
    assert loaded.probes.slices.dtype == np.float32
    for views in (1, 8):
        np.testing.assert_array_equal(loaded.probability[views], reference.probability[views])


def test_thresholds_are_lowered_until_a_mask_can_be_compared(tmp_path):
    # 144 pixels: probabilities of 0.2 in a hundred of them, 0.9 in none.
    found = np.full((1, 3, 12, 12), 0.02, np.float32)
    found[0, :, :10, :10] = 0.2
    found[0, 2] = 0.9  # a region
    slices = np.zeros((1, 1, 12, 12), np.float32)
    probes = ProbeSlices("phantoms", slices, np.ones(1, np.float32))
    thresholds = {"wmh": 0.5, "stroke": 0.1, "region": 0.5}
    reference = ReferenceOutputs(probes, {1: found, 8: found}, thresholds, region_count=1)
    lowered = reference.with_found_masks()
    middle = pytest.approx((0.2 + 0.02) / 2, abs=1e-4)
    assert lowered.thresholds == {"wmh": middle, "stroke": 0.1, "region": 0.5}
    assert lowered.masks(found).sum(axis=(2, 3)).tolist() == [[100, 100, 144]]
    dead = replace(reference, probability={1: found * 0.01, 8: found})
    assert not dead.with_found_masks().has_findings  # not below 0.01
    lowered.save(tmp_path / "reference.npz")
    loaded = ReferenceOutputs.load(tmp_path / "reference.npz", thresholds, 1)
    assert loaded.thresholds == lowered.thresholds
    for views, outputs in loaded.probability.items():
        assert np.array_equal(loaded.masks(outputs), lowered.masks(lowered.probability[views]))


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04 and no more"])
def test_error_for_a_broken_file_is_one_line(tmp_path, content):
    path = tmp_path / "reference_outputs.npz"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"reference_outputs\.npz: contains no reference outputs"):
        ReferenceOutputs.load(path, {"wmh": 0.5})
