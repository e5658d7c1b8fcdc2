import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmh_runtime.outputs.outliers import outlier_warning, volume_z_scores


def volumes_of(logs):
    return [math.exp(value) - 0.1 for value in logs]


def test_scores_are_those_of_the_logarithms():
    # Median 3, deviations 3 2 1 1 1 0 0 1 2 3 5: their median is 1.
    logs = [0, 1, 2, 2, 2, 3, 3, 4, 5, 6, 8]
    scores = volume_z_scores(volumes_of(logs))
    assert scores == pytest.approx([0.6745 * (value - 3) for value in logs])


def test_few_scans_and_equal_volumes_have_no_scores():
    assert volume_z_scores([1.0] * 9 + [100.0]) == [None] * 10
    assert volume_z_scores([float(number) for number in range(9)]) == [None] * 9


def test_only_scores_beyond_the_bound_are_warned_of():
    assert outlier_warning(None, 20) == outlier_warning(3.5, 20) == outlier_warning(-3.5, 20) == ""
    assert "much larger than those of the 20 scans of this folder (z-score 3.6, bound 3.5)" in (
        outlier_warning(3.6, 20)
    )
    assert "much smaller" in outlier_warning(-4, 20)


@given(st.lists(st.floats(0, 200), min_size=10, max_size=40), st.randoms())
def test_a_score_does_not_depend_on_the_order_of_the_scans(volumes, random):
    order = list(range(len(volumes)))
    random.shuffle(order)
    scores = volume_z_scores(volumes)
    assert volume_z_scores([volumes[index] for index in order]) == [scores[i] for i in order]
