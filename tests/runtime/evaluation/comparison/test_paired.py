import math

import numpy as np
import pytest

from wmh_runtime.evaluation.comparison.hypothesis_tests import holm
from wmh_runtime.evaluation.comparison.paired import paired_differences

NAN = math.nan


def compare(*rows, models="abc", subjects=None, higher_is_better=True):
    values = np.array(rows, float)
    names = np.array(subjects or [str(index) for index in range(values.shape[1])])
    return paired_differences(
        values, models[: len(values)], names, higher_is_better=higher_is_better
    )


def test_five_differences_of_one_sign():
    """Wilcoxon 1945: the smallest of two-sided p-values for five pairs, 2 / 2⁵."""
    (found,) = compare([0.6, 0.7, 0.8, 0.9, 1.0], [0.5, 0.5, 0.5, 0.5, 0.5])
    assert found.p == pytest.approx(0.0625)
    assert found.statistic == 0
    assert found.mean == pytest.approx(0.3)
    assert (found.first_better, found.second_better, found.equal) == (5, 0, 0)
    assert found.notes == (
        "the models differ in 5 scans only: 6 are needed for a p-value below 0.05",
    )


def test_three_pairs_need_more_scans_than_one():
    # Six differences of one sign: p = 2 / 2⁶ = 0.03, and 3 · 0.03 > 0.05. With seven, 0.047.
    for scans, note in ((6, 1), (7, 0)):
        values = np.array([np.zeros(scans), np.arange(1, scans + 1), 2 * np.arange(1, scans + 1)])
        subjects = np.arange(scans).astype(str)
        found = paired_differences(values, list("abc"), subjects, higher_is_better=True)
        for one in found:
            assert one.is_significant == (not note)
            assert len(one.notes) == note
            assert all(
                "7 are needed for a p-value below 0.05 with 3 pairs" in line for line in one.notes
            )
            assert all("with 3 pairs of models" in line for line in one.notes)


def test_few_scans_are_no_reason_against_a_significant_difference():
    # b and c differ in six scans: p = 2 / 2⁶. The other pairs have lower p-values, so Holm
    # multiplies it by one only.
    a, b = np.arange(10.0), np.arange(10.0) + np.arange(1, 11)
    c = np.add(b, [1, 2, 3, 4, 5, 6, 0, 0, 0, 0])
    found = compare(a, b, c)
    assert found[2].p_holm == pytest.approx(0.03125)
    assert found[2].is_significant
    assert found[2].notes == ()


def test_six_differences_of_one_sign_are_significant():
    """2 / 2⁶ = 0.03125."""
    (found,) = compare([1, 2, 3, 4, 5, 6], [0] * 6)
    assert (found.p, found.notes, found.is_significant) == (pytest.approx(0.03125), (), True)


def test_signed_ranks_by_hand():
    """Differences 1, −2, 3, 4, 5, 6, 7: the negative one has rank 2.

    Of 2⁷ = 128 signs, the sums of negative ranks up to 2 are {}, {1} and {2}: p = 2 · 3 / 128.
    """
    (found,) = compare([1, 0, 3, 4, 5, 6, 7], [0, 2, 0, 0, 0, 0, 0])
    assert found.statistic == 2
    assert found.p == pytest.approx(6 / 128)


def test_equal_scans_do_not_change_the_ranks():
    (with_equal,) = compare([1, 0, 3, 4, 5, 6, 7, 9, 9], [0, 2, 0, 0, 0, 0, 0, 9, 9])
    assert with_equal.p == pytest.approx(6 / 128)
    assert (with_equal.first_better, with_equal.second_better, with_equal.equal) == (6, 1, 2)


def test_rounding_does_not_make_differences_unequal():
    """0.8 − 0.7 and 0.5 − 0.4 are 0.1, but not as binary fractions: they share a rank."""
    (found,) = compare([0.8, 0.4, 0.9], [0.7, 0.5, 0.5])
    # Ranks 1.5 of 0.1, 1.5 of −0.1 and 3.
    assert found.statistic == 1.5


def test_a_lower_distance_is_better():
    (found,) = compare([1, 2, 9], [2, 3, 4], higher_is_better=False)
    assert (found.first_better, found.second_better) == (2, 1)
    assert found.mean == pytest.approx(1)  # first − second: −1, −1 and 5


def test_all_pairs_of_models_are_one_family():
    rng = np.random.default_rng(0)
    found = compare(*rng.random((3, 20)))
    assert [(one.first, one.second) for one in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [one.p_holm for one in found] == pytest.approx(holm(one.p for one in found))


def test_scans_without_a_value_of_both_are_left_out():
    (found,) = compare([1, 2, NAN, 4], [0, NAN, 3, 1])
    assert (found.count, found.left_out, found.mean) == (2, 2, 2)


@pytest.mark.parametrize(
    ("first", "second", "count", "reason"),
    [
        ([1, NAN], [2, 3], 1, "not computed: fewer than 2 values"),
        ([NAN, NAN], [2, 3], 0, "not computed: fewer than 2 values"),
        ([1, 2, 3], [1, 2, 3], 3, "not computed: no difference in any scan"),
    ],
)
def test_what_cannot_be_tested_has_a_reason(first, second, count, reason):
    (found,) = compare(first, second)
    assert (found.count, math.isnan(found.p), found.is_significant) == (count, True, False)
    assert found.notes[0] == reason


def test_the_interval_has_the_mean_and_is_the_same_every_time():
    rng = np.random.default_rng(1)
    rows = (rng.random(30) + 0.3, rng.random(30))
    (found,), (again,) = compare(*rows), compare(*rows)
    assert found.low < found.mean < found.high
    assert found.low > 0
    assert (found.low, found.high) == (again.low, again.high)


def test_scans_of_one_subject_are_drawn_together():
    """Differences 2, 2, 2 and 6 of two subjects: in a quarter of the draws only one is drawn."""
    subjects = ["s", "s", "s", "t"]
    (found,) = compare([2, 2, 2, 6], [0] * 4, subjects=subjects)
    assert (found.low, found.high) == (2, 6)
    (alone,) = compare([2, 2, 2, 6], [0] * 4, subjects=["s"] * 4)
    assert math.isnan(alone.low)
    assert "no interval: only one subject" in alone.notes
