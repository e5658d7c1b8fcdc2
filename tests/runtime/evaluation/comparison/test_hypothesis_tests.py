import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmh_runtime.evaluation.comparison.hypothesis_tests import anova, holm, t_tests

NAN = math.nan


def groups(**values):
    return {name: np.array(numbers, float) for name, numbers in values.items()}


def test_holms_correction():
    """Sorted: 0.005 · 4, 0.01 · 3, 0.03 · 2, 0.04 · 1; the last one is not less than 0.06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_a_corrected_p_value_is_at_most_1():
    assert holm([0.6, 0.7]) == [1, 1]


def test_a_test_that_was_not_computed_is_not_corrected_for():
    """Two tests count: 0.01 · 2 and 0.04 · 1."""
    corrected = holm([NAN, 0.04, 0.01])
    assert math.isnan(corrected[0])
    assert corrected[1:] == pytest.approx([0.04, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_correction_keeps_the_order_and_is_between_none_and_bonferronis(p_values):
    corrected = holm(p_values)
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()
    for p, p_holm in zip(p_values, corrected, strict=True):
        assert p <= p_holm <= min(1, p * len(p_values))


def test_analysis_of_variance_by_hand():
    """Means 2, 3 and 7, grand mean 4.

    Between: 3 · (4 + 1 + 9) = 42 with 2 degrees of freedom, within: 3 · 2 = 6 with 6. So F is
    21 / 1. With two degrees of freedom between, p is (1 + F · 2 / 6)^(−6 / 2) = 8^(−3).
    """
    found = anova(groups(a=[1, 2, 3], b=[2, 3, 4], c=[6, 7, 8]))
    assert (found.f, found.df_between, found.df_within) == (pytest.approx(21), 2, 6)
    assert found.p == pytest.approx(1 / 512)
    assert found.is_significant
    assert found.notes == ('fewer than 5 values in "a", "b", "c"',)


def test_t_test_with_pooled_variance_by_hand():
    """Means 2 and 5; sums of squares 2 and 8, pooled variance 10 / (2 + 3) = 2.

    t is −3 / √(2 · (1/3 + 1/4)) = −2.777.
    """
    (found,) = t_tests(groups(a=[1, 2, 3], b=[3, 5, 5, 7]))
    assert found.t == pytest.approx(-3 / math.sqrt(2 * (1 / 3 + 1 / 4)))
    assert (found.df, found.counts, found.means) == (5, (3, 4), (2, 5))
    # Tables: two-sided 5 % at 2.571, 2 % at 3.365, for 5 degrees of freedom.
    assert 0.02 < found.p < 0.05
    assert found.p_holm == found.p


def test_of_two_groups_f_is_the_square_of_t():
    two = groups(a=[1, 2, 3, 4, 9], b=[2, 4, 6, 8, 10, 12])
    (t,), f = t_tests(two), anova(two)
    assert f.f == pytest.approx(t.t**2)
    assert f.p == pytest.approx(t.p)


def test_all_pairs_are_one_family():
    tests = t_tests(groups(a=[1, 2, 3], b=[2, 3, 4], c=[6, 7, 8]))
    assert [(test.first, test.second) for test in tests] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [test.p_holm for test in tests] == pytest.approx(holm([test.p for test in tests]))
    assert tests[1].p_holm == pytest.approx(3 * tests[1].p)  # the smallest of three
    assert [test.is_significant for test in tests] == [False, True, True]


def test_a_difference_that_does_not_survive_the_correction_is_not_significant():
    """Two pairs of 1, 2, 3 and 3.5, 4.5, 5.5: t is 2.5 / √(2/3) = 3.06, p about 0.04."""
    same = [1, 2, 3]
    tests = t_tests(groups(a=same, b=same, c=[3.5, 4.5, 5.5]))
    assert [test.p < 0.05 for test in tests] == [False, True, True]
    assert [test.is_significant for test in tests] == [False, False, False]


def test_a_group_of_one_value_is_not_tested():
    few = groups(a=[1, 2, 3], b=[4], c=[], d=[2, 3, 5])
    tests = {(test.first, test.second): test for test in t_tests(few)}
    assert tests["a", "b"].notes == ('not computed: fewer than 2 values in "b"',)
    assert tests["a", "b"].means == (2, 4)
    assert math.isnan(tests["b", "c"].means[1])
    # The others are tested, and are a family of one.
    assert tests["a", "d"].p_holm == tests["a", "d"].p < 1


def test_groups_of_one_value_are_left_out_of_the_analysis_of_variance():
    found = anova(groups(a=[1, 2, 3], b=[4], c=[], d=[2, 3, 5]))
    both = anova(groups(a=[1, 2, 3], d=[2, 3, 5]))
    assert (found.f, found.p) == (both.f, both.p)
    assert (found.df_between, found.df_within) == (1, 4)
    assert found.notes[0] == 'without "b", "c": fewer than 2 values'
    alone = anova(groups(a=[1, 2, 3], b=[4]))
    assert math.isnan(alone.p)
    assert not alone.is_significant
    assert alone.notes == ('not computed: fewer than 2 values in "b"',)


def test_variances_of_two_equal_pairs_are_not_compared():
    # Each value is 0.5 from the median of its group: the test would divide 0 by 0.
    found = anova(groups(a=[0, 0, 1, 1], b=[0, 0, 1, 1]))
    assert math.isnan(found.variance_p)
    assert found.p == 1


def test_groups_without_variance_are_not_tested():
    found = anova(groups(a=[1] * 6, b=[2] * 6))
    assert (math.isnan(found.f), found.notes) == (True, ("not computed: no variance in any group",))
    (test,) = t_tests(groups(a=[1] * 6, b=[2] * 6))
    assert (math.isnan(test.t), test.notes) == (True, ("not computed: no variance in any group",))


def test_one_group_without_variance_is_said():
    """Sums of squares 0 and 10, pooled variance 10 / 8; means 1 and 3."""
    both = groups(a=[1, 1, 1, 1, 1], b=[1, 2, 3, 4, 5])
    (test,) = t_tests(both)
    assert test.t == pytest.approx(-2 / math.sqrt(10 / 8 * 2 / 5))
    assert 'no variance in "a"' in test.notes
    assert 'no variance in "a"' in anova(both).notes


def test_unequal_variances_are_said():
    """Distances to the median: 0, 1, 1, 2, 2, 3, 3 of the first group, a hundred times b's."""
    narrow = np.array([-3, -2, -1, 0, 1, 2, 3]) / 100
    found = anova(groups(a=narrow * 100, b=narrow))
    assert found.notes == ("unequal variances",)
    assert found.variance_p < 0.05
    (test,) = t_tests(groups(a=narrow * 100, b=narrow))
    assert test.notes == ("unequal variances",)


def test_equal_variances_are_not_said():
    found = anova(groups(a=[1, 2, 3, 4, 5], b=[11, 12, 13, 14, 15]))
    assert (found.variance_p, found.notes) == (1, ())


def test_five_values_are_not_few():
    found = anova(groups(a=[1, 2, 3, 4], b=[1, 2, 3, 4, 5]))
    assert found.notes == ('fewer than 5 values in "a"',)


def test_variances_of_two_values_are_not_tested():
    """Both have the same distance to their median."""
    found = anova(groups(a=[1, 3], b=[1, 9, 11]))
    assert math.isnan(found.variance_p)
    assert not math.isnan(found.p)
