import io
import math

import numpy as np
import pytest
from PIL import Image

from wmh_runtime.evaluation.comparison.analysis import analyze
from wmh_runtime.evaluation.comparison.factors import Factors, find_factors
from wmh_runtime.evaluation.comparison.figure import draw_comparison
from wmh_runtime.evaluation.comparison.reports import ComparedScan, Scores


def scores_of(models, sites, count, bands=("under 2", "2 to 5", "5 to 15")):
    rng = np.random.default_rng(0)
    scans = tuple(
        ComparedScan(f"{i:03}", f"{i:03}", sites[i % len(sites)], bands[i // 2 % len(bands)])
        for i in range(count)
    )
    values = {column: rng.random((len(models), count)) for column in ("dice", "iou", "h95_mm")}
    return Scores(tuple(models), scans, values, dict.fromkeys(models, 0))


def size_of(scores, factors=None):
    factors = find_factors(scores.scans) if factors is None else factors
    picture = Image.open(io.BytesIO(draw_comparison(analyze(scores, factors))))
    picture.load()
    corners = [picture.convert("RGB").getpixel((x, y)) for x in (0, -1) for y in (0, -1)]
    assert set(corners) == {(255, 255, 255)}
    return picture.size


def test_there_is_a_column_for_each_of_two_factors():
    scores = scores_of("ab", ["A", "B", "C"], 36)
    site, load = find_factors(scores.scans).used
    widths = [
        size_of(scores, Factors(factors, ()))[0]
        for factors in [(), (site,), (site, load), (site, load, site)]
    ]
    assert widths[0] < widths[1] < widths[2] == widths[3]


def test_six_models_at_seven_sites_have_room():
    """42 boxes of a factor, each with 0.17 inches of 150 pixels, gaps not counted."""
    scores = scores_of([f"model {i}" for i in range(6)], [f"Hospital {i}" for i in range(7)], 84)
    assert size_of(scores)[0] > 42 * 0.17 * 150


@pytest.mark.parametrize(
    "names", [[r"$\x$", "_"], ["🧠" * 300, "\u202e"], [f"model {i}" for i in range(17)]]
)
def test_names_with_special_characters_and_many_models_are_drawn(names):
    size_of(scores_of(names, names, 40))


def test_what_has_no_value_is_drawn_without_it():
    scores = scores_of("ab", ["A", "B"], 8)
    scores.values["h95_mm"][0, ::2] = math.nan  # the first model at the first site
    scores.values["iou"][:] = math.nan
    size_of(scores)


def test_one_scan_is_drawn():
    size_of(scores_of("ab", ["A"], 1))
