"""Pictures of slices in layers: the same slices as in the quality-control image, aligned layers."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from tests.runtime.report.results_folder import (
    AFFINE,
    SHAPE,
    made_up_lesions,
    made_up_scan,
    result_of,
)
from wmh_runtime.figures.probability_color import SMALLEST_SHOWN, STOPS, color_of_probability
from wmh_runtime.figures.slice_overlay import OUTLINE_COLOR
from wmh_runtime.figures.slice_selection import select_slices
from wmh_runtime.outputs.pictures.qc_page import COLUMNS, ROWS
from wmh_runtime.outputs.pictures.slice_layers import SLICES, read_slice_pictures, slice_pictures
from wmh_runtime.postprocessing.lesions import label_components


def decode(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA")).astype(int)


def pictures_of(scan, mask, probability=None, regions=None, mask_sha256="x"):
    result = result_of(mask, probability)
    return slice_pictures(scan, scan.voxels > 0, result, regions or {}, mask_sha256)


def test_slices_are_among_those_of_the_quality_control_image():
    scan, mask = made_up_scan(), made_up_lesions()
    pictures = pictures_of(scan, mask)
    to_slices = (2, 1, 0)  # x, y, z to slices, rows, columns
    head, lesions = (scan.voxels > 0).transpose(to_slices), mask.transpose(to_slices)
    shown = select_slices(head, label_components(lesions), COLUMNS * ROWS)
    numbers = [one.number for one in pictures.slices]
    assert len(numbers) == SLICES
    assert {number - 1 for number in numbers} <= set(shown)
    assert pictures.slice_count == SHAPE[2]
    # 4 x 6 voxels of 4 x 4 mm
    assert max(one.lesion_mm2 for one in pictures.slices) == 24 * 16


def test_the_same_head_stored_in_another_orientation_gives_the_same_pictures():
    scan, mask = made_up_scan(), made_up_lesions()
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = SHAPE[0] - 1, SHAPE[1] - 1
    flipped = made_up_scan(AFFINE @ flip)
    flipped.voxels[...] = scan.voxels[::-1, ::-1]
    assert pictures_of(flipped, mask[::-1, ::-1].copy()) == pictures_of(scan, mask)


def test_outlines_lie_around_the_bright_lesion_on_the_side_of_the_patient():
    # lesions only at low x: the patient's left in this affine of positive x to the right is low x,
    # and the left side is drawn on the right
    scan, mask = made_up_scan(), np.zeros(SHAPE, bool)
    mask[12:16, 20:26, 9:12] = True
    shown = next(one for one in pictures_of(scan, mask).slices if one.lesions)
    outline = decode(shown.lesions)
    rows, columns = np.nonzero(outline[..., 3])
    assert {tuple(color) for color in outline[rows, columns, :3]} == {
        ImageColor.getrgb(OUTLINE_COLOR)
    }
    assert columns.min() > outline.shape[1] / 2
    gray = decode(shown.image)[..., 0]
    inside = gray[rows.min() + 4 : rows.max() - 3, columns.min() + 4 : columns.max() - 3]
    assert inside.min() > gray[gray.shape[0] // 2, gray.shape[1] // 4] + 40
    assert gray.shape == outline.shape[:2]


def test_without_lesions_there_is_a_picture_but_no_outline_and_no_probability():
    pictures = pictures_of(made_up_scan(), np.zeros(SHAPE, bool))
    assert {one.lesions + one.probability + one.regions for one in pictures.slices} == {""}
    assert decode(pictures.thumbnail)[..., 0].max() > 50
    assert pictures.regions == []


def test_regions_have_their_colors_and_names():
    scan = made_up_scan()
    ventricles = np.zeros(SHAPE, bool)
    ventricles[18:22, 18:30, 5:15] = True
    regions = {"brain": scan.voxels > 0, "ventricles": ventricles, "cortex": ventricles}
    pictures = pictures_of(scan, made_up_lesions(), regions=regions)
    assert [one.name for one in pictures.regions] == ["brain", "ventricles"]
    layer = next(one.regions for one in pictures.slices if one.number in range(7, 14))
    drawn = decode(layer)
    assert {tuple(color) for color in drawn[drawn[..., 3] > 0][:, :3]} == {
        ImageColor.getrgb(one.color) for one in pictures.regions
    }


def test_only_the_pictures_of_this_mask_are_read(tmp_path):
    pictures = pictures_of(made_up_scan(), made_up_lesions())
    path = tmp_path / "slices.json"
    assert read_slice_pictures(path, "x") is None
    path.write_text(pictures.model_dump_json())
    assert read_slice_pictures(path, "x") == pictures
    assert read_slice_pictures(path, "y") is None
    path.write_text('{"schema_version": 2}')
    assert read_slice_pictures(path, "x") is None


def test_colors_of_probability_are_those_of_the_scale():
    places = np.array([[0, SMALLEST_SHOWN - 0.001, SMALLEST_SHOWN, 0.5, 1]], np.float32)
    colors = color_of_probability(places)[0]
    assert colors[:2].tolist() == [[0, 0, 0, 0]] * 2
    by_place = dict(STOPS)
    for row, place in ((2, SMALLEST_SHOWN), (3, 0.5), (4, 1.0)):
        assert colors[row].tolist() == pytest.approx(by_place[place], abs=1)
