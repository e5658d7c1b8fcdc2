"""How far from the network, and how far it may be: numbers by hand."""

from typing import get_args

import numpy as np
import pytest

from tests.toys import TOY_SIZE_PX, perfect_parity
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.bundle.bundle import open_bundle
from wmh_runtime.bundle.parity_record import BOUNDS
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
BRIGHT, DARK = 0.731, 0.269  # what the fake backend says of 1 and −1


class Given(FakeBackend):
    """Gives the same probabilities whatever it is asked."""

    def __init__(self, probability, shape=SHAPE):
        super().__init__(shape)
        self.probability = np.asarray(probability, np.float32)

    def _execute(self, batch):
        return self.probability[None]


def answers_of(probability, pixel_ml=0.5) -> ReferenceOutputs:
    expected = np.asarray(probability, np.float32)[None]
    slices = np.zeros((1, 1, 2, 2), np.float32)
    questions = ProbeSlices("phantoms", slices, np.full(1, pixel_ml, np.float32))
    thresholds = {f"output{k}": 0.5 for k in range(expected.shape[1])}
    return ReferenceOutputs(questions, {1: expected}, thresholds)


def measured(expected, found):
    shape = NetworkShape(1, len(expected), 2)
    with Given(found, shape) as backend:
        return measure_parity(answers_of(expected), backend, 1)


def test_every_figure_by_hand():
    # Masks at 0.5: three pixels against two of them and one other: Dice 2 · 2 / (3 + 3).
    parity = measured([[[0.9, 0.8], [0.7, 0.1]]], [[[0.9, 0.8], [0.3, 0.6]]])
    assert parity.mask_dice == pytest.approx(4 / 6)
    assert parity.max_abs_difference == pytest.approx(0.5)
    assert parity.mean_abs_difference == pytest.approx((0.4 + 0.5) / 4)
    (output,) = parity.outputs
    assert (output.reference_ml, output.found_ml) == (1.5, 1.5)  # three pixels of 0.5 mL
    assert parity.volume_percent == 0
    parity = measured([[[0.9, 0.8], [0.7, 0.1]]], [[[0.9, 0.8], [0.3, 0.1]]])
    assert parity.outputs[0].found_ml == 1
    assert parity.volume_percent == pytest.approx(100 / 3)


def test_the_lowest_dice_of_the_outputs_counts():
    common = [[0.9, 0.9], [0.9, 0.9]]
    parity = measured([common, [[0.9, 0], [0, 0]]], [common, [[0, 0.9], [0, 0]]])
    assert parity.mask_dice == 0


def test_errors_of_two_outputs_do_not_make_up_for_each_other():
    one, two = [[0.9, 0], [0, 0]], [[0.9, 0.9], [0, 0]]
    parity = measured([one, two], [two, one])
    assert parity.volume_percent == pytest.approx(100)  # of the first: 2 pixels for 1


def test_an_output_that_nobody_finds_is_not_compared_and_said():
    common, empty = [[0.9, 0.9], [0, 0]], [[0, 0], [0, 0]]
    parity = measured([common, empty], [common, empty])
    assert parity.mask_dice == 1
    assert parity.not_compared == ["output1"]
    assert "output1 not compared: nothing is found of it" in str(parity)


def test_an_output_that_only_the_candidate_finds_is_beyond_every_bound():
    common, empty = [[0.9, 0.9], [0, 0]], [[0, 0], [0, 0]]
    parity = measured([common, empty], [common, common])
    assert parity.mask_dice == 0
    assert parity.volume_percent == np.inf


def test_two_empty_masks_prove_nothing():
    empty = np.zeros((1, 2, 2))
    with pytest.raises(BackendError, match=r"finds no lesion in the phantoms of the parity check"):
        measured(empty, empty)


@pytest.mark.parametrize(
    ("precision", "figures", "says"),
    [
        ("fp32", {"max_abs_difference": 1e-4}, ""),
        ("fp32", {"max_abs_difference": 1.1e-4}, "probability differs by up to 0.00011"),
        ("fp16", {"mask_dice": 0.999, "max_abs_difference": 0.3}, ""),
        ("fp16", {"mask_dice": 0.9989}, "mask Dice is 0.9989, at least 0.999 is asked"),
        ("int8", {"mask_dice": 0.99, "found_ml": 0.981}, ""),
        ("int8", {"mask_dice": 0.9899}, "mask Dice is 0.9899, at least 0.99 is asked"),
        ("int8", {"found_ml": 0.979}, "volume differs by 2.1 %, at most 2 %"),
        # Nine pixels against eight have a Dice of 16/17 and are 11 % off: no more than rounding.
        ("int8", {"mask_dice": 0.941, "found_ml": 1.11, "differing_pixels": 4}, ""),
        ("int8", {"mask_dice": 0.941, "differing_pixels": 5}, "mask Dice is 0.9410"),
        # Four pixels lost of four are no rounding, nor two that lie elsewhere.
        ("int8", {"mask_dice": 0, "found_ml": 0, "differing_pixels": 4}, "mask Dice is 0.0000"),
        ("int8", {"mask_dice": 0.75, "differing_pixels": 2}, "mask Dice is 0.7500"),
        ("bf16", {"found_ml": 1.021}, "volume differs by 2.1 %, at most 2 %"),
    ],
)
def test_the_bounds(precision, figures, says):
    shortfall = perfect_parity(precision=precision, **figures).shortfall
    assert shortfall.startswith(says)
    assert bool(shortfall) == bool(says)


@pytest.mark.parametrize(
    ("precision", "figures", "share"),
    [
        ("fp32", {"max_abs_difference": 5e-5}, 0.5),
        ("int8", {"mask_dice": 0.995, "found_ml": 1.004}, 0.5),  # of 0.01; of 2 % a fifth
        ("int8", {"mask_dice": 0.999, "found_ml": 0.97}, 1.5),
        ("int8", {"mask_dice": 0.9, "differing_pixels": 4}, 0.0),
    ],
)
def test_how_much_of_the_bound_is_used_up(precision, figures, share):
    assert perfect_parity(precision=precision, **figures).share_of_bound == pytest.approx(share)


def test_a_line_says_what_was_measured_and_what_is_asked():
    said = str(perfect_parity(precision="int8", views=1, mask_dice=0.995, found_ml=1.01, slices=8))
    assert said == (
        "int8, 1 view, itself, 8 slices of phantoms: mask Dice 0.9950 (0.99 asked),"
        " volume 1.00 % off (2 allowed), probability 0.0e+00 off at most"
    )
    assert "0.0e+00 off at most (0.0001 allowed)" in str(perfect_parity(precision="fp32"))


def test_a_shortfall_that_was_recorded_excuses_no_larger_one():
    known = perfect_parity(precision="int8", mask_dice=0.985)  # 1.5 times the bound
    assert perfect_parity(precision="int8", mask_dice=0.975).is_known_to_fall_short(known)
    assert not perfect_parity(precision="int8", mask_dice=0.965).is_known_to_fall_short(known)
    assert not perfect_parity(precision="int8", mask_dice=0.1).is_known_to_fall_short(known)


def test_every_precision_has_a_bound_that_something_can_break():
    assert set(BOUNDS) == set(get_args(Precision))
    for precision in BOUNDS:
        worst = {"max_abs_difference": 1, "mask_dice": 0, "found_ml": 0}
        assert perfect_parity(precision=precision, **worst).shortfall


def test_asking_takes_the_views_apart():
    # The fake network has all symmetries: each view undone gives the same, and so their mean.
    slices = np.random.default_rng(0).normal(size=(3, 1, 4, 4)).astype(np.float16)
    questions = ProbeSlices("phantoms", slices.astype(np.float32), np.ones(3, np.float32))
    with FakeBackend(NetworkShape(1, 1, 4)) as network:
        answers = compute_reference_outputs(network, questions, {"wmh": 0.5}, seen_in_eight_views=2)
        assert network.batches_executed == 3 + len(VIEWS) * 2
    np.testing.assert_allclose(
        answers.probability[1], 1 / (1 + np.exp(-answers.questions.slices)), atol=1e-6
    )
    np.testing.assert_allclose(answers.probability[8], answers.probability[1][:2], atol=1e-6)


def test_the_slices_with_most_lesion_come_first():
    slices = np.zeros((3, 1, 2, 2), np.float32)
    slices[0, 0, 0, 0] = slices[2, 0, 0] = 1  # one pixel, none, two pixels beyond 0.7
    questions = ProbeSlices("phantoms", slices, np.array([1, 2, 3], np.float32))
    with FakeBackend(SHAPE) as network:
        answers = compute_reference_outputs(network, questions, {"wmh": 0.7}, seen_in_eight_views=1)
    np.testing.assert_array_equal(answers.questions.pixel_ml, [3, 1, 2])
    np.testing.assert_array_equal(answers.questions.slices[0], slices[2])


def test_answers_come_back_as_they_were_and_equal_ones_are_equal_bytes(toy_bundle, tmp_path):
    answers = load_reference_outputs(open_bundle(toy_bundle))
    for name in ("a.npz", "b.npz"):
        answers.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    loaded = ReferenceOutputs.load(tmp_path / "a.npz", answers.thresholds)
    np.testing.assert_array_equal(loaded.questions.slices, answers.questions.slices)
    assert loaded.questions.slices.shape == (2, 1, TOY_SIZE_PX, TOY_SIZE_PX)
    assert loaded.questions.slices.dtype == np.float32
    for views in (1, 8):
        np.testing.assert_array_equal(loaded.probability[views], answers.probability[views])


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04 and no more"])
def test_a_file_without_answers_is_one_clear_line(tmp_path, content):
    path = tmp_path / "reference_outputs.npz"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"reference_outputs\.npz: holds no answers"):
        ReferenceOutputs.load(path, {"wmh": 0.5})
