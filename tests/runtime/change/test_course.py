"""The plot of the volume, as an SVG element."""

import re
from datetime import date
from xml.etree import ElementTree

import pytest

from wmh_runtime.change.measure import current_rules
from wmh_runtime.change.record import (
    ChangeRecord,
    IntervalRecord,
    RegistrationRecord,
    VisitRecord,
)
from wmh_runtime.change.report.course import course_svg

SVG = "{http://www.w3.org/2000/svg}"
REGISTRATION = RegistrationRecord(
    mm=0, degrees=0, disagreement_mm=0, similarity=1, before_to_halfway=[], after_to_halfway=[]
)


def record(volumes_ml, days=None, uncertainty_ml=0.5, labels=None):
    labels = labels or [f"ses-{number}" for number in range(1, len(volumes_ml) + 1)]
    dates = [None if days is None else date.fromordinal(737000 + day) for day in days or volumes_ml]
    visits = [
        VisitRecord(
            label=label,
            date=day,
            scan="",
            scan_sha256="",
            mask="",
            mask_sha256="",
            volume_ml=ml,
            is_from_probability=False,
        )
        for label, day, ml in zip(labels, dates, volumes_ml, strict=True)
    ]
    interval = IntervalRecord(
        earlier="",
        later="",
        days=None,
        before_ml=1,
        after_ml=1,
        change_ml=0,
        change_percent=None,
        uncertainty_ml=uncertainty_ml,
        classes={},
        registration=REGISTRATION,
        voxel_mm=1,
        protocol_differences=[],
        warnings=[],
    )
    return ChangeRecord(
        subject="sub-1",
        visits=visits,
        intervals=[interval] * (len(visits) - 1),
        rules=current_rules(),
        inputs_sha256="",
        versions={},
    )


def circles(svg):
    root = ElementTree.fromstring(svg)
    return [(float(one.get("cx")), float(one.get("cy"))) for one in root.iter(f"{SVG}circle")]


def test_visits_are_placed_by_their_dates():
    xs = [x for x, _ in circles(course_svg(record([1, 2, 3], days=[0, 100, 400])))]
    assert (xs[1] - xs[0]) / (xs[2] - xs[0]) == pytest.approx(0.25, abs=0.002)


@pytest.mark.parametrize("days", [None, [5, 5, 5]])
def test_without_dates_they_are_at_equal_distances(days):
    xs = [x for x, _ in circles(course_svg(record([1, 2, 3], days=days)))]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)


def test_the_height_is_proportional_to_the_volume():
    ys = [y for _, y in circles(course_svg(record([0, 2, 4])))]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert ys[0] > ys[2]


def test_a_bar_is_the_uncertainty_of_a_change_divided_by_the_root_of_two():
    svg = course_svg(record([10, 12], uncertainty_ml=2 * 2**0.5))  # ± 2 mL
    (_, y_first), (_, y_second) = circles(svg)
    low, high = map(float, re.search(r'd="M[\d.]+ ([\d.]+)V([\d.]+)M', svg).groups())
    assert low - y_first == pytest.approx(y_first - y_second, abs=0.2)
    assert y_first - high == pytest.approx(y_first - y_second, abs=0.2)


def test_names_are_escaped_and_colors_are_those_of_the_page():
    svg = course_svg(record([0, 0], uncertainty_ml=0, labels=['<b>"&', "ses-2"]))
    texts = [one.text for one in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert '<b>"&' in texts
    assert "currentColor" in svg
    assert 'class="wmh-course" color=' in svg
    assert not re.search(r"black|white|#000|#fff", svg)


def test_labels_that_would_overlap_are_left_out():
    svg = course_svg(record([1, 2, 3], days=[0, 5, 1000]))
    texts = [one.text for one in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert "ses-1" in texts
    assert "ses-2" not in texts
    assert "ses-3" in texts
    assert len(circles(svg)) == 3
