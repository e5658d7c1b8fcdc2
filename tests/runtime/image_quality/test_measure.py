import pytest

from wmh_runtime.image_quality.measure import Criterion

WARM = Criterion(
    "warmth",
    "how warm it is",
    "mm",
    "the {side} side has {value}",
    "cool it",
    lowest=-2,
    highest=10,
)


@pytest.mark.parametrize("value", [-2.0, 0.0, 10.0, None])
def test_within_the_bounds_or_not_measurable_is_not_flagged(value):
    measure = WARM.judge(value)
    assert not measure.is_flagged
    assert (measure.name, measure.value, measure.unit) == ("warmth", value, "mm")
    assert (measure.lowest, measure.highest) == (-2, 10)


def test_a_warning_says_number_bound_and_what_to_do():
    assert WARM.judge(10.06, "left").warning == (
        "the left side has 10.1 mm, expected at most 10.0 mm: cool it"
    )
    assert WARM.judge(-2.5, "left").warning == (
        "the left side has −2.5 mm, expected at least −2.0 mm: cool it"
    )
