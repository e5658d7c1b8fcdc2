import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.runtime.evaluation.test_statistics import case
from wmh_runtime.evaluation.provenance import Provenance
from wmh_runtime.evaluation.report.agreement import (
    draw_bland_altman,
    draw_volumes,
    named_groups,
    volume_scale,
)
from wmh_runtime.evaluation.report.summary import (
    Sources,
    case_rows,
    format_limits,
    format_number,
    mean_and_interval,
    summary_text,
)
from wmh_runtime.evaluation.statistics import evaluate


def cases_of(predicted, true, sites=("A", "B")):
    return [
        case(f"sub-{i}", sites[i % len(sites)], prediction_ml=p, reference_ml=r)
        for i, (p, r) in enumerate(zip(predicted, true, strict=True))
    ]


@pytest.mark.parametrize(
    ("volumes", "scale"),
    [
        ([1, 50, 100], "linear"),  # exactly two decades
        ([0.9, 100], "log"),
        ([0, 0.9, 100], "symlog"),
        ([0, 50], "linear"),
        ([0, 0], "linear"),
    ],
)
def test_axes_are_logarithmic_if_volumes_span_more_than_two_decades(volumes, scale):
    assert volume_scale(np.array(volumes, float)) == scale


@pytest.mark.parametrize("draw", [draw_volumes, draw_bland_altman])
@pytest.mark.parametrize(
    ("predicted", "true"),
    [
        ([1, 2, 30], [2, 2, 40]),
        ([0.01, 2, 30], [0.02, 2, 40]),
        ([0, 2, 30], [0.02, 0, 40]),
        ([0, 0], [0, 0]),
        ([3], [2]),
    ],
)
def test_every_kind_of_cohort_can_be_drawn(draw, predicted, true):
    cases = cases_of(predicted, true)
    picture = Image.open(
        io.BytesIO(draw(cases, evaluate(cases).volumes, ["model a", "be careful"]))
    )
    picture.load()
    corners = [picture.convert("RGB").getpixel((x, y)) for x in (0, -1) for y in (0, -1)]
    assert set(corners) == {(255, 255, 255)}


def test_formatted_numbers():
    assert format_number(-1.234, 2) == "−1.23"
    assert format_number(float("nan"), 2) == "–"
    averages = evaluate([case("1", h95_mm=2.0), case("2", h95_mm=6.0)]).overall.averages
    assert mean_and_interval("h95_mm", averages["h95_mm"]) == "4.00 mm [2.00, 6.00]"
    averages = evaluate([case("1", dice=0.25)]).overall.averages
    assert mean_and_interval("dice", averages["dice"]) == "0.250"


def test_undefined_values_are_empty_cells():
    row = case_rows([case("a", "A", "s", h95_mm=float("nan"), reference_ml=3.5)], {})[0]
    assert (row["name"], row["subject"], row["site"]) == ("a", "s", "A")
    assert row["load_band_ml"] == "2 to 5"
    assert (row["h95_mm"], row["dice"], row["reference_ml"]) == ("", "0.5", "3.5")


def test_the_summary_lists_what_was_compared_and_what_was_not():
    cases = cases_of([1, 2, 3], [2, 2, 40])
    text = summary_text(
        evaluate(cases),
        Sources("p", "r", ("sub-9: on | two\nlines",)),
        Provenance({}, ("a 1, threshold 0.5",), ("be careful (2 of 3 masks)",)),
        [("Volumes", "v.png")],
    )
    assert "- Model: a 1, threshold 0.5\n\n- **Warning:** be careful (2 of 3 masks)\n" in text
    assert "3 cases. Predictions: `p`. References: `r`." in text
    assert "| A | 2 | 0.500 [0.500, 0.500] | 4.00 | 20.0 | 0.400 | 0.500 |" in text
    assert "| 2 to 5 | 2 |" in text
    assert "| 30 and more | 1 | 0.500 | 4.00 | 20.0 | 0.400 | 0.500 |" in text
    # Differences −1, 0 and −37: their mean.
    assert f"| Bias, prediction − reference | −{38 / 3:.2f} mL |" in text
    assert "![Volumes](v.png)" in text
    assert "- sub-9: on \\| two lines\n" in text


@pytest.mark.parametrize("draw", [draw_volumes, draw_bland_altman])
def test_sites_with_special_characters_are_drawn(draw):
    cases = cases_of([1, 2, 3, 4], [2, 2, 4, 4], sites=(r"$\x$", "_", "🧠" * 300, "\u202e"))
    assert draw(cases, evaluate(cases).volumes, ["model a", "be careful"]).startswith(b"\x89PNG")


@pytest.mark.parametrize("draw", [draw_volumes, draw_bland_altman])
@settings(max_examples=8)  # a plot takes half a second
@given(
    volumes=st.lists(
        st.tuples(*[st.just(0.0) | st.floats(1e-6, 1e5)] * 2),  # from a voxel of 0.1 mm
        min_size=1,
        max_size=5,
    ),
    sites=st.lists(st.text(), min_size=1, max_size=3),
)
def test_any_volumes_and_sites_are_drawn(draw, volumes, sites):
    predicted, true = zip(*volumes, strict=True)
    cases = cases_of(predicted, true, sites)
    assert draw(cases, evaluate(cases).volumes, ["model", "warning"]).startswith(b"\x89PNG")


@pytest.mark.parametrize("draw", [draw_volumes, draw_bland_altman])
def test_sixty_sites_are_drawn(draw):
    cases = cases_of(range(1, 61), range(2, 62), sites=[f"hospital {i}" for i in range(60)])
    draw(cases, evaluate(cases).volumes, ["model a", "be careful"])


def test_more_sites_than_markers_share_the_last_marker():
    """Site 11 has two cases, sites 00 to 10 one: 11 and the first seven have their own marker."""
    sites = np.array([f"{i:02}" for i in [*range(12), 11]])
    groups = named_groups(sites)
    counts = {name: int(is_here.sum()) for name, is_here in groups}
    own = {f"{i:02}": 1 for i in range(7)}
    assert counts == {**own, "11": 2, "4 other sites": 4}
    assert list(dict(named_groups(np.array(["b", "a", "b"])))) == ["a", "b"]


@pytest.mark.parametrize(
    ("site", "shown"),
    [
        (r"$\x$", r"\$\\x\$"),
        ("_a_b_", r"\_a_b\_"),
        ("a|b\nc", r"a\|b c"),
        ("<b>*", r"\<b\>\*"),
        ("Haus 3", "Haus 3"),
    ],
)
def test_a_site_is_shown_as_it_is_in_the_summary(site, shown):
    cases = cases_of([1, 2], [2, 2], sites=(site,))
    text = summary_text(evaluate(cases), Sources("p", "r"), Provenance({}, ("m",), ()), [])
    assert f"\n| {shown} | 2 | 0.500" in text
    assert "Warning" not in text


def test_one_case_is_told_what_is_missing():
    found = evaluate([case("a", prediction_ml=3, reference_ml=2)])
    text = summary_text(found, Sources("p", "r"), Provenance({}, ("m",), ()), [])
    assert "| Limits of agreement, bias ± 1.96 SD | needs 2 cases |" in text
    assert "| R² (line of identity) | needs 2 cases of different volume |" in text
    assert "Here is only one subject, and an interval needs two." in text
    two = evaluate([case("a", prediction_ml=3, reference_ml=2), case("b", prediction_ml=1)])
    # Differences 1 and 0: bias 0.5, standard deviation 1/√2, 1.96 of it 1.386.
    assert format_limits(two.volumes) == "−0.89 to 1.89 mL"
