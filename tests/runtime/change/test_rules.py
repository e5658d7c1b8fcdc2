"""The class of a lesion, from two volumes and the uncertainty of their difference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmh_runtime.change.rules import (
    HIGHEST_LEVEL_OF_NONE,
    ONE_PROTOCOL,
    TWO_PROTOCOLS,
    classify,
)

OPPOSITE = {
    "new": "resolved",
    "resolved": "new",
    "enlarging": "shrinking",
    "shrinking": "enlarging",
    "stable": "stable",
}


@pytest.mark.parametrize(
    ("before_mm3", "after_mm3", "uncertainty_mm3", "expected"),
    [
        (100, 130, 20, "enlarging"),  # by 30 %, and 30 > 20 + 3
        (100, 130, 27, "stable"),  # 30 is not above 27 + 3
        (100, 125, 0, "stable"),  # exactly 25 %
        (1000, 1200, 50, "stable"),  # 200 mm³, but 20 %
        (130, 100, 20, "shrinking"),
        (0, 100, 40, "new"),
        (0, 43, 40, "stable"),
        (0, 3, 0, "stable"),  # the smallest lesion that counts is larger than 3 mm³
        (0, 3.1, 0, "new"),
        (100, 0, 40, "resolved"),
        (0, 0, 0, "stable"),
    ],
)
def test_the_class_follows_from_the_limits(before_mm3, after_mm3, uncertainty_mm3, expected):
    assert classify(before_mm3, after_mm3, uncertainty_mm3) == expected


@pytest.mark.parametrize("volumes_mm3", [(0, 500), (500, 0)])
def test_a_lesion_that_is_weakly_there_at_the_other_visit_is_neither_new_nor_resolved(volumes_mm3):
    assert classify(*volumes_mm3, 40, HIGHEST_LEVEL_OF_NONE) != "stable"
    assert classify(*volumes_mm3, 40, HIGHEST_LEVEL_OF_NONE + 0.01) == "stable"


volumes = st.floats(0, 1e5) | st.just(0.0)


@given(volumes, volumes, st.floats(0, 1e4))
def test_swapping_the_visits_gives_the_opposite_class(before_mm3, after_mm3, uncertainty_mm3):
    one = classify(before_mm3, after_mm3, uncertainty_mm3)
    assert classify(after_mm3, before_mm3, uncertainty_mm3) == OPPOSITE[one]


@given(volumes, volumes, st.floats(0, 1e4), st.floats(0, 1e4))
def test_more_uncertainty_never_makes_a_change(before_mm3, after_mm3, uncertainty_mm3, more_mm3):
    if classify(before_mm3, after_mm3, uncertainty_mm3) == "stable":
        assert classify(before_mm3, after_mm3, uncertainty_mm3 + more_mm3) == "stable"


def test_the_uncertainty_of_a_cube_is_its_surface_times_the_distance():
    # 10 mm: 600 mm². 0.4 mm are 240 mm³; 0.2 mm for the total are 0.12 mL.
    assert ONE_PROTOCOL.lesion_mm3(600) == pytest.approx(240)
    assert ONE_PROTOCOL.total_ml(600) == pytest.approx(0.12)
    assert TWO_PROTOCOLS.lesion_mm3(600) == pytest.approx(300)
    assert TWO_PROTOCOLS.total_ml(600) == pytest.approx(0.27)
