import math
from dataclasses import replace

import numpy as np
import pytest

from wmh_runtime.evaluation.metrics import MaskMetrics
from wmh_runtime.evaluation.statistics import (
    ScoredCase,
    average,
    bootstrap_interval,
    evaluate,
    load_band,
    volume_agreement,
)

NAN = math.nan
METRICS = MaskMetrics(
    dice=0.5,
    h95_mm=4.0,
    avd_percent=20.0,
    lesion_recall=0.4,
    lesion_precision=0.8,
    lesion_f1=0.5,
    precision=0.6,
    recall=0.7,
    iou=0.3,
    reference_ml=1.0,
    prediction_ml=1.0,
    reference_lesions=3,
    predicted_lesions=4,
)


def case(name, site="", subject=None, **changes):
    return ScoredCase(name, subject or name, site, replace(METRICS, **changes))


def ml(*values):
    return np.array(values, float)


def test_agreement_of_three_volumes():
    """Differences 1, 2 and 3 mL: bias 2, standard deviation 1 (ddof 1), limits 2 ± 1.96.

    Sum of squared differences: 1 + 4 + 9 = 14. Sum of squares of 10, 20, 30 about 20: 200.
    """
    found = volume_agreement(ml(11, 22, 33), ml(10, 20, 30))
    assert found.bias_ml == 2
    assert found.lower_limit_ml == pytest.approx(0.04)
    assert found.upper_limit_ml == pytest.approx(3.96)
    assert found.r_squared == pytest.approx(1 - 14 / 200)
    assert found.pearson_r == pytest.approx(1)  # 11, 22, 33 are on a line


def test_r_squared_depends_on_a_bias_and_can_be_negative():
    """All volumes 10 mL too large: sum of squares 300, of 1, 2, 3 about 2: 2. Pearson's r is 1."""
    found = volume_agreement(ml(11, 12, 13), ml(1, 2, 3))
    assert found.r_squared == pytest.approx(1 - 300 / 2)
    assert found.pearson_r == pytest.approx(1)


def test_undefined_agreement_is_nan():
    one = volume_agreement(ml(3), ml(2))
    assert one.bias_ml == 1
    assert math.isnan(one.lower_limit_ml)
    assert math.isnan(one.upper_limit_ml)
    assert math.isnan(one.r_squared)
    equal = volume_agreement(ml(0.1, 0.2, 0.3), ml(0.1, 0.1, 0.1))
    assert math.isnan(equal.r_squared)
    assert math.isnan(equal.pearson_r)
    constant = volume_agreement(ml(2, 2, 2), ml(1, 2, 3))
    assert (constant.r_squared, math.isnan(constant.pearson_r)) == (0, True)


def test_volumes_that_differ_too_little_to_be_squared_have_no_correlation():
    """1e-200 squared is less than the smallest number above 0."""
    found = volume_agreement(ml(1, 2), ml(0, 1e-200))
    assert math.isnan(found.r_squared)
    assert math.isnan(found.pearson_r)
    found = volume_agreement(ml(0, 1e-200), ml(1, 2))
    assert math.isnan(found.pearson_r)


def test_undefined_values_are_not_averaged_but_counted():
    found = average(ml(1, NAN, 3, 8), ["a", "b", "c", "d"])
    assert (found.mean, found.median, found.with_value, found.without_value) == (4, 3, 3, 1)
    assert 1 <= found.low <= 4 <= found.high <= 8
    none = average(ml(NAN, NAN), ["a", "b"])
    assert (math.isnan(none.mean), none.with_value, none.without_value) == (True, 0, 2)


def test_the_interval_of_equal_values_has_no_width():
    assert bootstrap_interval(np.full(9, 0.75), list("abcdefghi")) == (0.75, 0.75)


def test_the_interval_of_two_subjects_is_their_values():
    """In 25 % of the draws only the first subject is drawn, in 25 % only the second.

    So the 2.5th percentile is one value and the 97.5th percentile the other.
    """
    assert bootstrap_interval(ml(2, 6), ["a", "b"]) == (2, 6)


def test_the_interval_of_many_values_is_that_of_a_normal_distribution():
    """1000 values 0 and 1000 values 1: the standard error of the mean is 0.5 / √2000 = 0.01118."""
    low, high = bootstrap_interval(
        np.repeat([0.0, 1.0], 1000), [str(index) for index in range(2000)]
    )
    half_width = 1.96 * 0.5 / math.sqrt(2000)
    assert (low, high) == pytest.approx((0.5 - half_width, 0.5 + half_width), abs=0.002)


def test_scans_of_one_subject_are_drawn_together():
    """Two subjects, the first with three values of 2: drawn twice, the mean is 2, with both 3."""
    assert bootstrap_interval(ml(2, 2, 2, 6), ["a", "a", "a", "b"]) == (2, 6)
    alone = bootstrap_interval(ml(1, 2, 3), ["a", "a", "a"])
    assert math.isnan(alone[0])


def test_the_interval_is_the_same_every_time():
    values = np.random.default_rng(5).random(20)
    subjects = [str(index) for index in range(20)]
    assert bootstrap_interval(values, subjects) == bootstrap_interval(values.copy(), subjects)


@pytest.mark.parametrize(
    ("volume_ml", "band"),
    [
        (0, "under 2"),
        (1.999, "under 2"),
        (2, "2 to 5"),
        (5, "5 to 15"),
        (15, "15 to 30"),
        (29.99, "15 to 30"),
        (30, "30 and more"),
        (400, "30 and more"),
    ],
)
def test_a_volume_at_a_limit_is_in_the_higher_band(volume_ml, band):
    assert load_band(volume_ml) == band


def test_groups_by_site_and_by_load():
    found = evaluate(
        [
            case("1", "Utrecht", reference_ml=40, dice=0.9),
            case("2", "Leipzig", reference_ml=1, dice=0.5),
            case("3", "Utrecht", reference_ml=3, dice=0.7),
            case("4", "", reference_ml=1.5, dice=0.1),
        ]
    )
    assert found.overall.averages["dice"].mean == pytest.approx(0.55)
    means = {group.name: group.averages["dice"].mean for group in found.by_site}
    assert means == pytest.approx({"Leipzig": 0.5, "Utrecht": 0.8, "unknown": 0.1})
    assert list(means) == ["Leipzig", "Utrecht", "unknown"]
    bands = {group.name: (group.count, group.averages["dice"].mean) for group in found.by_band}
    assert bands == {"under 2": (2, 0.3), "2 to 5": (1, 0.7), "30 and more": (1, 0.9)}
    assert found.volumes.bias_ml == pytest.approx((4 * 1 - 45.5) / 4)


def test_without_sites_there_are_no_site_groups():
    assert evaluate([case("1"), case("2")]).by_site == ()


def test_a_subject_at_two_sites_is_one_subject():
    """Dice 0 at one site, 1 at the other: no interval for one subject, 0 to 1 for two."""
    found = evaluate([case("a", "A", "sub-1", dice=0.0), case("b", "B", "sub-1", dice=1.0)])
    assert math.isnan(found.overall.averages["dice"].low)
    found = evaluate([case("a", "A", "sub-1", dice=0.0), case("b", "B", "sub-2", dice=1.0)])
    assert (found.overall.averages["dice"].low, found.overall.averages["dice"].high) == (0, 1)


def test_volumes_agree_within_each_group():
    """Site A: 11 and 22 mL for 10 and 20 mL; sums of squares 1 + 4 and 25 + 25.

    Differences 1 and 2: bias 1.5, standard deviation √½ (ddof 1). Site B: 3 mL for 5 mL.
    """
    volumes = [("A", 11, 10), ("A", 22, 20), ("B", 3, 5)]
    found = evaluate(
        [
            case(str(index), site, prediction_ml=predicted, reference_ml=true)
            for index, (site, predicted, true) in enumerate(volumes)
        ]
    )
    a, b = (group.volumes for group in found.by_site)
    assert (a.bias_ml, b.bias_ml) == (1.5, -2)
    assert a.r_squared == pytest.approx(1 - 5 / 50)
    assert (a.lower_limit_ml, a.upper_limit_ml) == pytest.approx(
        (1.5 - 1.96 * math.sqrt(0.5), 1.5 + 1.96 * math.sqrt(0.5))
    )
    assert math.isnan(b.r_squared)
    # 10 and 5 mL are in the band 5 to 15, differences 1 and −2; 20 mL is in the band 15 to 30.
    assert [group.volumes.bias_ml for group in found.by_band] == [-0.5, 2]
    assert found.volumes.bias_ml == pytest.approx(1 / 3)
