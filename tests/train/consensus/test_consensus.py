import sys

import numpy as np
import pytest

from wmh_runtime.errors import InputError
from wmh_train.consensus.consensus import find_consensus
from wmh_train.consensus.method import Method

pytest.importorskip("SimpleITK")
SHAPE = (12, 10, 8)


def box(first, last):
    mask = np.zeros(SHAPE, bool)
    mask[first:last, 2:8, 2:6] = True
    return mask


def simulated_masks(rates, seed):
    """Masks of raters with known sensitivity and specificity, of a truth that is a cube."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((40, 40, 40), bool)
    truth[10:30, 10:30, 10:30] = True
    return [
        np.where(truth, rng.random(truth.shape) < p, rng.random(truth.shape) > q) for p, q in rates
    ]


def test_majority_and_union_by_hand():
    masks = [box(2, 6), box(3, 7), box(4, 8)]
    majority = find_consensus(masks, Method.MAJORITY)
    np.testing.assert_array_equal(majority.mask, box(3, 7))  # two of three
    np.testing.assert_array_equal(find_consensus(masks, Method.UNION).mask, box(2, 8))
    assert set(np.unique(majority.probability)) == {0, np.float32(1 / 3), np.float32(2 / 3), 1}
    # The first rater has planes 3, 4 and 5 of the four of the consensus, and plane 2 beside it:
    # sensitivity 3/4; of 11 · 10 · 8 = 880 voxels in the box around the masks, with three voxels
    # on each side if there are so many, 96 are consensus and 24 are marked outside it.
    assert majority.raters[0].sensitivity == 0.75
    assert majority.raters[0].specificity == (880 - 96 - 24) / (880 - 96)
    assert majority.notes == ()


def test_two_raters_that_differ_are_no_majority():
    assert not find_consensus([box(2, 6), box(8, 11)], Method.MAJORITY).mask.any()


def test_staple_of_equal_masks_is_that_mask():
    consensus = find_consensus([box(2, 6)] * 3, Method.STAPLE)
    np.testing.assert_array_equal(consensus.mask, box(2, 6))
    for rater in consensus.raters:
        assert rater.sensitivity == pytest.approx(1, abs=1e-3)
        assert rater.specificity == pytest.approx(1, abs=1e-3)


def test_staple_recovers_the_rates_of_simulated_raters():
    # Warfield et al. 2004 test STAPLE on raters with known rates, drawn from a known truth.
    rates = [(0.95, 0.98), (0.85, 0.99), (0.70, 0.95)]
    consensus = find_consensus(simulated_masks(rates, seed=0), Method.STAPLE)
    for rater, (sensitivity, specificity) in zip(consensus.raters, rates, strict=True):
        assert rater.sensitivity == pytest.approx(sensitivity, abs=0.02)
        assert rater.specificity == pytest.approx(specificity, abs=0.02)


def test_staple_weighs_a_good_rater_more_than_the_majority_does():
    # By Bayes' theorem: a voxel that only the first rater marks has the odds
    # f/(1−f) · p1/(1−q1) · (1−p2)/q2 · (1−p3)/q3. With p1 = 0.99, q1 = 0.999, p2 = p3 = 0.5 and
    # q2 = q3 = 0.9 these are 990 · 0.309 · f/(1−f) > 1: lesion, although two raters say no.
    masks = simulated_masks([(0.99, 0.999), (0.5, 0.9), (0.5, 0.9)], seed=1)
    only_first = masks[0] & ~masks[1] & ~masks[2]
    assert find_consensus(masks, Method.STAPLE).mask[only_first].all()
    assert not find_consensus(masks, Method.MAJORITY).mask[only_first].any()


@pytest.mark.parametrize("method", Method)
def test_empty_masks_give_an_empty_consensus(method):
    consensus = find_consensus([box(2, 2)] * 3, method)
    assert not consensus.mask.any()
    assert not consensus.probability.any()
    assert all(np.isnan(rater.sensitivity) for rater in consensus.raters)
    assert all(rater.specificity == 1 for rater in consensus.raters)
    assert consensus.notes == ()


@pytest.mark.parametrize("method", Method)
def test_one_mask_is_its_own_consensus_and_that_is_said(method):
    consensus = find_consensus([box(2, 6)], method)
    np.testing.assert_array_equal(consensus.mask, box(2, 6))
    assert [str(note) for note in consensus.notes] == ["one mask only: it is taken as it is"]


def test_disagreement_everywhere_is_said():
    consensus = find_consensus([box(1, 3), box(4, 6), box(7, 9)], Method.MAJORITY)
    assert not consensus.mask.any()
    disagree, empty = map(str, consensus.notes)
    assert disagree == "the masks hardly share a voxel: mean Dice between them 0.00"
    assert empty.startswith("no voxel is lesion by consensus")


def test_staple_of_masks_that_fill_the_image_is_the_image():
    full = np.ones((4, 5, 6), bool)
    found = find_consensus([full, full], Method.STAPLE)
    assert found.mask.all()
    assert (found.probability == 1).all()
    assert found.raters[0].sensitivity == 1
    assert np.isnan(found.raters[0].specificity)  # nothing is outside
    assert found.notes == ()


def test_a_careful_rater_is_no_worse_than_chance(caplog):
    # The careful rater marks 40 of the 100 voxels of the other one, and nothing else.
    broad, careful = np.zeros((2, 20, 20, 20), bool)
    broad[5:10, 5:10, 5:9] = True
    careful[5:10, 5:10, 5:7] = True
    careful[5:7, 5:10, 5:7] = False
    for masks in ([broad, careful], [broad, careful, careful]):
        notes = " ".join(map(str, find_consensus(masks, Method.STAPLE).notes))
        assert "worse than chance" not in notes


def test_a_rater_that_marks_what_the_others_leave_out_is_worse_than_chance():
    good = np.zeros((20, 20, 20), bool)
    good[5:12, 5:12, 5:12] = True
    inverted = np.zeros_like(good)
    inverted[2:15, 2:15, 2:15] = ~good[2:15, 2:15, 2:15]
    notes = [str(note) for note in find_consensus([good, good, inverted], Method.STAPLE).notes]
    assert "STAPLE rates a rater worse than chance; it may be wrong" in notes


def test_staple_without_simpleitk_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(InputError, match=r'pip install "wmh-lora\[itk\]". Or use .* majority'):
        find_consensus([box(2, 6), box(3, 7)], Method.STAPLE)
