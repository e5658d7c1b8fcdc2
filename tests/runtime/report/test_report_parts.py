"""Parts of the report, without a browser."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.runtime.report.results_folder import made_up_pictures, report_of, write_result
from wmh_runtime.outputs.folder_results import read_results
from wmh_runtime.report import pages
from wmh_runtime.report.cohort_summary import quartiles, summarize
from wmh_runtime.report.gather import gather
from wmh_runtime.report.inline import json_for_script
from wmh_runtime.report.links import link_to
from wmh_runtime.report.model import Quartiles
from wmh_runtime.report.pages import REPORT_NAME, RESULTS_OF_A_PAGE, report_pages
from wmh_runtime.report.plots import distribution, size_histogram
from wmh_runtime.report.scan_entry import scan_entry, with_pictures


def entries_of(out, volumes_ml):
    for number, volume_ml in enumerate(volumes_ml):
        write_result(out, f"sub-{number}_FLAIR.nii.gz", volume_ml=volume_ml)
    return next(gather(out, read_results(out), {}, [], "")).entries


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("sub-1/a b.json", "./sub-1/a%20b.json"),
        ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
        ("#?%.png", "./%23%3F%25.png"),
        ("ä", "./%C3%A4"),
    ],
)
def test_addresses_are_encoded(name, address):
    assert link_to(Path(name)) == address


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_bytes_that_are_no_utf8_are_encoded_as_they_are():
    assert link_to(Path(os.fsdecode(b"\xff"))) == "./%FF"


@example(["</script><!-- & \u2028"])
@given(st.recursive(st.text() | st.floats(allow_nan=False), st.lists, max_leaves=5))
def test_json_ends_no_script_and_reads_back_equal(value):
    text = json_for_script(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_quartiles():
    # positions 0.75, 1.5 and 2.25 of 1, 2, 4, 8
    assert quartiles([1, 2, 4, 8]) == Quartiles(1.75, 3.0, 5.0)


def test_the_summary_counts_scans_by_load(tmp_path):
    (cohort,) = summarize(entries_of(tmp_path, [0, 1.99, 2, 100]))
    assert dict(cohort.by_band) == {
        "under 2": 2,
        "2 to 5": 1,
        "5 to 15": 0,
        "15 to 30": 0,
        "30 and more": 1,
    }


def test_dots_are_placed_on_a_logarithmic_axis(tmp_path):
    # 0.1 to 100 mL are three decades from 2 % to 98 %: 32 % each
    entries = entries_of(tmp_path, [0.1, 1, 10, 100])
    plot = distribution(entries, Quartiles(0.1, 1, 10))
    assert [dot.x for dot in plot.dots] == pytest.approx([2, 34, 66, 98])
    assert len({dot.y for dot in plot.dots}) == 1
    assert not plot.has_zero


def test_scans_without_lesions_have_a_place_of_their_own(tmp_path):
    plot = distribution(entries_of(tmp_path, [0, 0.1]), Quartiles(0, 0, 0.1))
    zero, least = plot.dots
    assert plot.has_zero
    assert zero.x < plot.bands[0].x <= least.x


def test_equal_volumes_do_not_cover_one_another(tmp_path):
    plot = distribution(entries_of(tmp_path, [5.0] * 9), Quartiles(5, 5, 5))
    ys = sorted(dot.y for dot in plot.dots)
    assert np.diff(ys).min() >= 10  # dots are 10 px wide
    assert ys[0] >= 5
    assert ys[-1] <= plot.height - 5


def test_lesions_are_counted_by_size_and_a_limit_belongs_to_the_higher_bar():
    bars = {bar.text: bar for bar in size_histogram([3, 10, 29.9, 30, 20000])}
    counts = {text: bar.count for text, bar in bars.items() if bar.count}
    assert counts == {"< 10 mm³": 1, "10–30": 2, "30–100": 1, "≥ 10 mL": 1}
    assert bars["10–30"].volume_mm3 == pytest.approx(39.9)
    assert bars["10–30"].share == 1


def test_an_entry_links_only_to_files_that_exist(tmp_path):
    write_result(tmp_path, "a/sub-1_ses-2_run-3_FLAIR.nii.gz", pictures=made_up_pictures())
    (tmp_path / "a" / "sub-1_ses-2_run-3_label-WMH_qc.png").touch()
    (result,) = read_results(tmp_path).results
    entry = scan_entry(tmp_path, result)
    assert entry.name == "sub-1 ses-2 run-3"
    assert entry.links.picture == "./a/sub-1_ses-2_run-3_label-WMH_qc.png"
    assert entry.links.mask == "./a/sub-1_ses-2_run-3_label-WMH_mask.nii.gz"
    assert entry.links.probability == entry.links.viewer == ""
    assert entry.pictures is None
    assert with_pictures(tmp_path, result, entry).pictures is not None


def test_pictures_of_an_earlier_mask_are_not_shown(tmp_path):
    sidecar = write_result(tmp_path, "sub-1_FLAIR.nii.gz", pictures=made_up_pictures())
    changed = sidecar.model_copy(update={"mask_sha256": "other"})
    (tmp_path / "sub-1_label-WMH_mask.json").write_text(changed.model_dump_json())
    (entry,) = next(gather(tmp_path, read_results(tmp_path), {}, [], "")).entries
    assert entry.pictures is None
    assert "changed after it was written" in entry.warnings[0]


def test_results_are_divided_into_pages():
    (only,) = report_pages(RESULTS_OF_A_PAGE)
    assert (only.name, only.first, only.last) == (REPORT_NAME, 1, RESULTS_OF_A_PAGE)
    (empty,) = report_pages(0)
    assert (empty.first, empty.last) == (1, 0)
    first, second, third = report_pages(2 * RESULTS_OF_A_PAGE + 1)
    assert [first.name, second.name, third.name] == [REPORT_NAME, "report-2.html", "report-3.html"]
    assert (second.first, second.last) == (RESULTS_OF_A_PAGE + 1, 2 * RESULTS_OF_A_PAGE)
    assert third.first == third.last == 2 * RESULTS_OF_A_PAGE + 1


def test_of_many_results_there_are_several_pages_with_one_summary(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "RESULTS_OF_A_PAGE", 2)
    for number in range(5):
        write_result(tmp_path, f"sub-{number}_FLAIR.nii.gz", volume_ml=number + 1)
    (tmp_path / "report-9.html").write_text("of a time with more results")
    (tmp_path / "report-of-mine.html").write_text("mine")
    (tmp_path / "report-2024-final.html").write_text("mine")
    report_of(tmp_path)
    names = sorted(path.name for path in tmp_path.glob("report*.html"))
    mine = ["report-2024-final.html", "report-of-mine.html"]
    assert names == sorted(["report-2.html", "report-3.html", "report.html", *mine])
    first, second, third = (
        (tmp_path / name).read_text(encoding="utf-8")
        for name in ("report.html", "report-2.html", "report-3.html")
    )
    for page, shown in ((first, "01"), (second, "23"), (third, "4")):
        for number in range(5):
            assert (f"sub-{number}_FLAIR" in page) == (str(number) in shown)
        assert "<dd>5 <small>on 3 pages</small></dd>" in page  # all results
        assert "median 3.00 mL" in page  # of all
    assert "Results 3 to 4 of 5" in second
    assert 'href="./report-3.html"' in second
    assert '<span aria-current="page">2</span>' in second
    for path in sorted(tmp_path.glob("sub-[234]*")):
        path.unlink()
    report_of(tmp_path)
    assert not (tmp_path / "report-2.html").exists()
