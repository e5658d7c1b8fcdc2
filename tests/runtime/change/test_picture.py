"""The picture of an interval: each visit has the outlines of its own lesions."""

import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from tests.runtime.change.visit_scans import STILL, box, head, visit_images
from tests.toys import as_scan
from wmh_runtime.change.pair.interval import measure_interval
from wmh_runtime.change.record import ClassRecord, IntervalRecord, RegistrationRecord
from wmh_runtime.change.report.picture import CLASS_COLORS, change_picture
from wmh_runtime.change.rules import CLASSES
from wmh_runtime.change.visits import VisitImages
from wmh_runtime.figures.page import MARGIN_PX, PAGE_WIDTH_PX

SHAPE = (26, 30, 14)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
GONE = box((6, 9), (12, 16), (5, 8), shape=SHAPE)
COMES = box((16, 19), (12, 16), (5, 8), shape=SHAPE)
NOTHING = np.zeros(SHAPE, bool)


def visit(mask) -> VisitImages:
    images = visit_images(mask, AFFINE)
    return VisitImages(as_scan(head(SHAPE), AFFINE), mask, images.level, None)


def picture(before, after, warnings=()):
    record = IntervalRecord(
        earlier="ses-1",
        later="ses-2",
        days=200,
        before_ml=10,
        after_ml=11,
        change_ml=1,
        change_percent=10,
        uncertainty_ml=0.2,
        classes={name: ClassRecord(count=0, before_ml=0, after_ml=0) for name in CLASSES},
        registration=RegistrationRecord(
            mm=1,
            degrees=1,
            disagreement_mm=0,
            similarity=0.5,
            before_to_halfway=[],
            after_to_halfway=[],
        ),
        voxel_mm=1,
        protocol_differences=[],
        warnings=list(warnings),
    )
    interval = measure_interval(visit(before), visit(after), STILL)
    with Image.open(io.BytesIO(change_picture(interval, record, "sub-1"))) as image:
        return np.array(image.convert("RGB"))


def columns_with(pixels, name):
    """The columns of cells, 0 to 3, with the color of a class; the legend is above."""
    cells = pixels[200:]
    xs = np.flatnonzero((cells == ImageColor.getrgb(CLASS_COLORS[name])).all(axis=2).any(axis=0))
    return {int(x - MARGIN_PX) * 4 // (PAGE_WIDTH_PX - 2 * MARGIN_PX) for x in xs}


def test_a_lesion_is_outlined_at_the_visit_where_it_is():
    pixels = picture(GONE, COMES)
    assert columns_with(pixels, "resolved") == {0, 2}
    assert columns_with(pixels, "new") == {1, 3}
    assert columns_with(pixels, "stable") == set()


def test_a_stable_lesion_is_outlined_at_both_visits():
    assert columns_with(picture(GONE, GONE), "stable") == {0, 1, 2, 3}


@pytest.mark.parametrize("masks", [(NOTHING, NOTHING), (NOTHING, COMES)])
def test_visits_without_lesions_are_drawn(masks):
    assert picture(*masks).shape[1] == PAGE_WIDTH_PX


def test_warnings_are_on_the_page():
    assert picture(GONE, GONE, ["check that they match"]).shape[0] > picture(GONE, GONE).shape[0]
