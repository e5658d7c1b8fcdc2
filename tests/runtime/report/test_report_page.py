"""The report in a browser: it works by mouse and keyboard, and runs no script of a name."""

from __future__ import annotations

import os
import re
import sys

import numpy as np
import pytest

from tests.runtime.change.test_course import record
from tests.runtime.report.results_folder import (
    made_up_pictures,
    report_of,
    settings_of,
    write_result,
)
from wmh_runtime.change.record import ClassRecord
from wmh_runtime.change.rules import CLASSES
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.outputs.folder_results import read_results
from wmh_runtime.outputs.reviews import read_reviews
from wmh_runtime.report.pages import REPORT_NAME

NAMES = "#table tbody tr:not([hidden]) .who"


@pytest.fixture(scope="module")
def pictures():
    return made_up_pictures()


@pytest.fixture(scope="module")
def report(tmp_path_factory, pictures):
    """Four scans: 1, 4 (with a warning), 20 and 0 mL (without pictures)."""
    out = tmp_path_factory.mktemp("results")
    write_result(out, "sub-a_FLAIR.nii.gz", volume_ml=1, pictures=pictures)
    write_result(
        out, "sub-b_ses-1_FLAIR.nii.gz", volume_ml=4, pictures=pictures, warnings=("too dark",)
    )
    write_result(out, "sub-c_FLAIR.nii.gz", volume_ml=20, pictures=pictures)
    write_result(out, "sub-d_FLAIR.nii.gz", volume_ml=0, facts={"lesions": [], "lesion_count": 0})
    (out / "failures.csv").write_text("scan,reason\nsub-e_FLAIR.nii.gz,is truncated\n")
    return report_of(out)


def names(page) -> list[str]:
    return [text.strip() for text in page.locator(NAMES).all_inner_texts()]


def test_heads_sort_by_mouse_and_keyboard(report, open_page):
    with open_page(report) as page:
        head = page.get_by_role("columnheader", name="Volume")
        head.get_by_role("button").click()
        assert names(page) == ["sub-c", "sub-b", "sub-a", "sub-d"]
        assert head.get_attribute("aria-sort") == "descending"
        page.keyboard.press("Enter")
        assert names(page) == ["sub-d", "sub-a", "sub-b", "sub-c"]
        assert head.get_attribute("aria-sort") == "ascending"
        page.get_by_role("columnheader", name="Participant").get_by_role("button").press("Space")
        assert names(page) == ["sub-a", "sub-b", "sub-c", "sub-d"]
        assert page.locator("th[aria-sort]").count() == 1


def test_filters_hide_rows_and_say_how_many_are_shown(report, open_page):
    with open_page(report) as page:
        shown = page.locator("#shown")
        page.fill("#filter-text", "DARK")
        assert (names(page), shown.inner_text()) == (["sub-b"], "1 of 4 shown")
        assert page.locator(".dot.out").count() == 3
        page.get_by_role("button", name="Clear").click()
        page.select_option("#filter-band", "15 to 30")
        assert names(page) == ["sub-c"]
        page.select_option("#filter-band", "")
        page.check("#filter-warned")
        assert names(page) == ["sub-b"]
        page.fill("#filter-text", "sub-a")
        assert shown.inner_text() == "0 of 4 shown"
        assert page.get_by_text("No scan matches").is_visible()


def test_failed_scans_are_listed_with_their_reason(report, open_page):
    with open_page(report) as page:
        assert page.locator("#failed li").inner_text() == "sub-e_FLAIR.nii.gz\nis truncated"


def test_a_scan_opens_by_its_address_and_keys_go_to_the_others(report, open_page):
    with open_page(report) as page:
        page.click("text=sub-a")
        assert page.locator("#detail h2").inner_text() == "sub-a"
        page.keyboard.press("j")
        assert page.locator("#detail h2").inner_text() == "sub-b ses-1"
        assert "Too dark." in page.locator("#detail .warnings").inner_text()
        assert page.locator("#detail .place").inner_text() == "2 of 4"
        current = page.locator(".dot.current")
        assert current.get_attribute("href") == page.evaluate("location.hash")
        page.keyboard.press("ArrowLeft")
        assert page.locator("#detail h2").inner_text() == "sub-a"
        page.keyboard.press("Escape")
        assert page.locator("#detail").is_hidden()
        assert page.evaluate("document.activeElement.textContent") == "sub-a"


def test_layers_are_switched_and_have_texts_with_numbers(report, open_page):
    with open_page(report) as page:
        page.click("text=sub-c")
        first = page.locator("#detail .slice img.layer-image").nth(1)
        assert re.fullmatch(
            r"Slice \d+ of 20: \d+ mm² of lesions|.*no lesions", first.get_attribute("alt")
        )
        outlines = page.locator("#detail img.layer-lesions").first
        page.wait_for_function("document.querySelector('img.layer-lesions').naturalWidth > 0")
        assert outlines.is_visible()
        page.keyboard.press("1")
        assert outlines.is_hidden()
        probability = page.locator("#detail img.layer-probability").first
        assert probability.is_hidden()
        page.get_by_role("button", name="Probability").click()
        assert probability.is_visible()


def test_marks_are_kept_downloaded_and_read_back_equal(report, open_page, tmp_path):
    note = '=HYPERLINK("http://x")\t"quoted"'
    with open_page(report) as page:
        page.click("text=sub-a")
        page.keyboard.press("a")
        page.fill("[data-field=reviewer]", "+Ann")
        page.fill("[data-field=note]", note)
        page.keyboard.press("Enter")
        page.keyboard.press("j")
        page.keyboard.press("x")
        page.keyboard.press("j")
        page.keyboard.press("e")
        page.keyboard.press("e")  # takes the mark away
        page.keyboard.press("Escape")
        page.reload()
        assert page.locator("#reviewed-count").inner_text() == "2"
        assert page.locator("#excluded-count").inner_text() == "1"
        with page.expect_download() as download:
            page.click("#download")
        download.value.save_as(tmp_path / "reviews.tsv")
        page.evaluate("localStorage.clear()")
        page.reload()
        assert page.locator("#reviewed-count").inner_text() == "0"
        page.set_input_files("#load", tmp_path / "reviews.tsv")
        page.locator("#reviewed-count", has_text="2").wait_for()
        assert page.locator(".review .note").inner_text() == " ".join(note.split())
    text = (tmp_path / "reviews.tsv").read_text()
    assert "\t=" not in text
    assert "\t+" not in text
    first, second, taken_away = read_reviews(tmp_path / "reviews.tsv")
    assert (first.scan, first.decision, first.reviewer) == ("sub-a_FLAIR.nii.gz", "accept", "+Ann")
    assert first.note == note
    assert (second.scan, second.decision) == ("sub-b_ses-1_FLAIR.nii.gz", "exclude")
    assert (taken_away.scan, taken_away.decision) == ("sub-c_FLAIR.nii.gz", "")


def test_escape_makes_a_slice_small_again_and_then_leads_to_all_scans(report, open_page):
    with open_page(report) as page:
        page.click("text=sub-a")
        page.locator(".slice").first.click()
        assert page.locator(".slice.large").count() == 1
        page.keyboard.press("Escape")
        assert page.locator(".slice.large").count() == 0
        assert page.locator("#detail").is_visible()
        page.keyboard.press("Escape")
        assert page.locator("#detail").is_hidden()


def test_a_file_of_marks_can_be_loaded_twice_and_the_newest_mark_counts(
    tmp_path, report, open_page
):
    marks = tmp_path / "marks.tsv"
    marks.write_text(
        "scan\tdecision\ttime\n"
        "sub-a_FLAIR.nii.gz\texclude\t2026-02-01T00:00:00Z\n"
        "sub-a_FLAIR.nii.gz\taccept\t2026-01-01T00:00:00Z\n"
        "elsewhere.nii.gz\tedit\t2026-01-01T00:00:00Z\n"
    )
    with open_page(report) as page:
        for _ in range(2):
            page.set_input_files("#load", [])
            page.set_input_files("#load", marks)
            page.locator("#message", has_text="Loaded 3 reviews").wait_for()
            page.evaluate("document.getElementById('message').textContent = ''")
        with page.expect_download() as download:
            page.click("#download")
        download.value.save_as(tmp_path / "reviews.tsv")
    found = read_reviews(tmp_path / "reviews.tsv")
    assert [(one.scan, one.output, one.decision) for one in found] == [
        ("elsewhere.nii.gz", "", "edit"),
        ("sub-a_FLAIR.nii.gz", "wmh", "exclude"),
    ]
    assert (tmp_path / "reviews.tsv").read_text().count("\n") == 3


def test_marks_beside_the_report_are_shown_and_those_of_an_earlier_mask_are_outdated(
    tmp_path, pictures, open_page
):
    mask_sha256 = write_result(tmp_path, "sub-1_FLAIR.nii.gz", pictures=pictures).mask_sha256
    write_result(tmp_path, "sub-2_FLAIR.nii.gz")
    (tmp_path / "reviews.tsv").write_text(
        "scan\toutput\tmask_sha256\tdecision\tnote\treviewer\ttime\n"
        f"sub-1_FLAIR.nii.gz\twmh\t{mask_sha256}\texclude\t'=1+1\tAnn\t2026-01-01T00:00:00Z\n"
        "sub-2_FLAIR.nii.gz\twmh\tother\taccept\t\tAnn\t2026-01-01T00:00:00Z\n"
    )
    with open_page(report_of(tmp_path)) as page:
        first, second = page.locator("td.review").all()
        assert first.inner_text().split() == ["exclude", "=1+1"]
        assert "outdated" in second.inner_text()
        assert page.locator("#reviewed-count").inner_text() == "1"


MARKS = (  # rows of a file, and the mark that counts for the scan
    ("scan\tdecision\n{scan}\tExclude\n", "exclude"),
    ("Scan,Decision\n{scan},edit\n", "edit"),
    ("scan\tdecision\tmask_sha256\n{scan}\taccept\tother\n", ""),
    ("scan\tdecision\tmask_sha256\n{scan}\texclude\tother\n", "exclude"),
    (
        "scan\tdecision\ttime\n{scan}\texclude\t2026-02-01T10:00:00+02:00\n"
        "{scan}\taccept\t2026-02-01T09:00:00Z\n",
        "accept",
    ),
    (
        "scan\tdecision\tmask_sha256\treviewer\ttime\n"
        "{scan}\taccept\tother\tAnn\t2026-02-01T09:00:00Z\n"
        "{scan}\tedit\t\tBob\t2026-01-01T09:00:00Z\n",
        "edit",
    ),
)


@pytest.mark.parametrize(("text", "decision"), MARKS)
def test_the_page_and_the_program_read_marks_alike(tmp_path, open_page, text, decision):
    write_result(tmp_path, "sub-1_FLAIR.nii.gz")
    marks = tmp_path / ("marks.tsv" if "\t" in text else "marks.csv")
    marks.write_text(text.format(scan="sub-1_FLAIR.nii.gz"))
    (result,) = read_results(tmp_path, read_reviews(marks)).results
    assert result.decision == decision
    with open_page(report_of(tmp_path)) as page:
        if marks.suffix == ".tsv":  # the page saves and reads this format only
            page.set_input_files("#load", marks)
            page.locator("#message", has_text="Loaded").wait_for()
            counted = int(page.locator("#reviewed-count").inner_text())
            assert counted == bool(decision)
            if decision:
                assert page.locator("td.review").inner_text().split()[0] == decision


def test_a_note_on_a_mark_of_an_earlier_mask_does_not_renew_its_decision(tmp_path, open_page):
    write_result(tmp_path, "sub-1_FLAIR.nii.gz")
    (tmp_path / "reviews.tsv").write_text(
        "scan\tdecision\tmask_sha256\nsub-1_FLAIR.nii.gz\taccept\tother\n"
    )
    with open_page(report_of(tmp_path)) as page:
        page.click("text=sub-1")
        page.fill("[data-field=note]", "look again")
        page.keyboard.press("Enter")
        assert page.locator("[data-decision=accept]").get_attribute("aria-pressed") == "false"
        page.keyboard.press("Escape")
        assert page.locator("#reviewed-count").inner_text() == "0"
        assert page.locator("td.review").inner_text().split() == ["note", "look", "again"]


def test_a_browser_that_keeps_nothing_says_so_where_the_reader_looks(report, open_page):
    broken = "Storage.prototype.setItem = () => { throw new Error(); }"
    with open_page(report, script=broken) as page:
        page.click("text=sub-a")
        page.keyboard.press("a")
        assert page.get_by_text("This browser keeps nothing for this page").is_visible()


def test_arrows_lead_from_slice_to_slice_while_one_is_large(report, open_page):
    with open_page(report) as page:
        page.click("text=sub-a")
        page.locator(".slice").first.click()
        page.keyboard.press("ArrowRight")
        large = page.evaluate(
            "[...document.querySelectorAll('.slice')].map((one) => one.matches('.large'))"
        )
        assert large[:3] == [False, True, False]
        assert "sub-a" in page.locator("#detail h2").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(report, open_page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with open_page(report, color_scheme=scheme, reduced_motion="reduce") as page:
        page.click("text=sub-b")
        page.keyboard.press("a")
        for _ in range(2):  # the scan, then the table
            found = axe.run(page)
            assert found.violations_count == 0, found.generate_report()
            page.keyboard.press("Escape")


def test_a_phone_needs_no_scrolling_to_the_side(report, open_page):
    with open_page(report, viewport={"width": 390, "height": 844}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.click("text=sub-b")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_print_has_a_block_with_pictures_for_each_scan_and_no_controls(report, open_page):
    with open_page(report) as page:
        page.evaluate("window.print = () => {}")
        page.click("#print")
        page.wait_for_selector(".print-block", state="attached")
        page.emulate_media(media="print")
        assert page.locator(".print-block").count() == 4
        assert page.locator(".print-block:first-child .slice").count() == 6
        assert page.locator("#filters").is_hidden()


def hostile_names() -> list[str]:
    long = "n" * (255 - len("sub-_label-WMH_probseg.nii.gz"))
    odd = [
        '"><img src=x onerror=alert(1)>',
        "<",
        "javascript:alert(1)",
        "=1+1",
        "'quotes\"&amp;{{ 7*7 }}",
        "line\nbreak",
        f"sub-{long}",
        "\u202ereversed",
    ]
    if sys.platform == "linux":
        odd.append(os.fsdecode(b"sub-\xff"))
    return [*(f"{name}_FLAIR.nii.gz" for name in odd), "</script><script>alert(2)<_FLAIR.nii.gz"]


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids these names")
def test_hostile_names_are_text_and_their_links_lead_to_the_files(tmp_path, pictures, open_page):
    evil = "</script><script>alert(3)</script>"
    for number, name in enumerate(hostile_names()):
        write_result(
            tmp_path,
            name,
            volume_ml=number,
            pictures=pictures,
            warnings=(evil,),
            facts={"model_warnings": ["<i>"]},
        )
    (tmp_path / "failures.csv").write_text(f'scan,reason\n"{evil}","<b>{evil}"\n')
    path = report_of(tmp_path, title=evil)
    with open_page(path) as page:
        assert page.locator("h1").inner_text() == evil
        rows = page.locator("#table tbody tr")
        assert rows.count() == len(hostile_names())
        page.locator("#table tbody .who a").first.click()
        for _ in range(rows.count()):
            link = page.locator("#detail .links a", has_text="Mask").get_attribute("href")
            assert page.evaluate("href => new URL(href, location).protocol", link) == "file:"
            assert page.locator("#detail .slice").count() == 6
            page.keyboard.press("x")
            page.keyboard.press("j")
        page.keyboard.press("Escape")
        assert page.locator("#excluded-count").inner_text() == str(rows.count())
        assert page.locator("main b, main i, main img[src=x]").count() == 0


def test_an_empty_folder_gives_a_page(tmp_path, open_page):
    with open_page(report_of(tmp_path)) as page:
        assert page.get_by_text("There is no result in this folder yet").is_visible()


def test_only_failures_give_a_page(tmp_path, open_page):
    (tmp_path / "failures.csv").write_text("scan,reason\na.nii.gz,is truncated\n")
    with open_page(report_of(tmp_path)) as page:
        assert page.get_by_text("every scan failed").is_visible()


def test_one_scan_of_an_earlier_version_gives_a_page(tmp_path, open_page):
    facts = {"percent_of_brain": None, "regions": [], "lesion_count": 1}
    write_result(tmp_path, "FLAIR.nii.gz", facts=facts)
    with open_page(report_of(tmp_path)) as page:
        page.locator("#table tbody .who a").click()
        assert page.get_by_text("There are no pictures of slices").is_visible()


def test_outputs_have_their_own_summary_and_plot(tmp_path, pictures, open_page):
    for output in ("wmh", "infarct"):
        write_result(tmp_path, "sub-1_FLAIR.nii.gz", output=output, pictures=pictures)
    with open_page(report_of(tmp_path)) as page:
        assert page.locator(".plot").count() == 2
        page.select_option("#filter-output", "infarct")
        assert page.locator("#shown").inner_text() == "1 of 2 shown"


def test_a_scan_that_is_excluded_is_in_the_table_and_not_in_the_summary(tmp_path, open_page):
    head = "scan\toutput\tmask_sha256\tdecision\n"
    for name in ("sub-1", "sub-2"):  # one of two, then all
        for number, volume_ml in (("sub-1", 4), ("sub-2", 8)):
            write_result(tmp_path, f"{number}_FLAIR.nii.gz", volume_ml=volume_ml)
        sha256 = sha256_file(tmp_path / f"{name}_label-WMH_mask.nii.gz")
        head += f"{name}_FLAIR.nii.gz\twmh\t{sha256}\texclude\n"
        (tmp_path / "reviews.tsv").write_text(head)
        with open_page(report_of(tmp_path)) as page:
            assert page.locator("#table tbody tr").count() == 2
            assert page.locator("td.review .exclude").count() == head.count("exclude")
            summary = page.locator("#overview").inner_text()
            assert ("8.00 mL" in summary) == (name == "sub-1")
            assert "6.00 mL" not in summary
            page.click("text=sub-2")
            assert page.locator("#detail h2").inner_text() == "sub-2"


def test_changes_beyond_their_uncertainty_are_marked(tmp_path, open_page):
    write_result(tmp_path, "sub-1_FLAIR.nii.gz")
    courses = record([2.0, 2.9, 3.0])
    classes = dict.fromkeys(CLASSES, ClassRecord(count=2, before_ml=0, after_ml=0))
    intervals = [
        one.model_copy(update={"classes": classes, "change_ml": ml, "warnings": ["far apart"]})
        for one, ml in zip(courses.intervals, (0.9, -0.1), strict=True)
    ]
    changed = courses.model_copy(update={"intervals": intervals})
    with open_page(report_of(tmp_path, changes=[changed])) as page:
        cells = page.locator("#changes tbody td:nth-child(3)")
        texts = [" ".join(text.split()) for text in cells.all_inner_texts()]
        assert texts == ["+0.90 (more than the uncertainty)", "-0.10"]
        assert page.locator("#changes .card svg").count() == 1
        assert page.locator("#changes .warnings li").first.inner_text() == "Far apart."
        page.locator("#changes summary").click()
        assert page.locator("#changes .card svg").is_hidden()


def test_a_failed_scan_is_not_in_the_table(tmp_path, open_page):
    write_result(tmp_path, "sub-1_FLAIR.nii.gz")
    (tmp_path / "failures.csv").write_text("scan,reason\nsub-1_FLAIR.nii.gz,is truncated\n")
    with open_page(report_of(tmp_path)) as page:
        assert page.locator("#table").count() == 0


def test_the_warning_of_the_model_is_said_once(tmp_path, open_page):
    for name in ("sub-1_FLAIR.nii.gz", "sub-2_FLAIR.nii.gz"):
        write_result(tmp_path, name, facts={"model_warnings": ["this model is inaccurate"]})
    with open_page(report_of(tmp_path)) as page:
        assert page.locator(".notice").inner_text() == "About the model. This model is inaccurate."
        assert page.locator("tr[data-warned='1']").count() == 0


def test_quality_beyond_its_bounds_is_a_flag_and_no_second_warning(tmp_path, open_page):
    dim = {"name": "lesion_contrast", "value": 1.25, "unit": "%", "lowest": 2, "highest": None}
    fine = {"name": "snr", "value": None, "unit": "", "lowest": 5, "highest": 9, "warning": ""}
    quality = [{**dim, "warning": "too dim"}, fine]
    write_result(tmp_path, "sub-1_FLAIR.nii.gz", warnings=("too dim",), facts={"quality": quality})
    with open_page(report_of(tmp_path)) as page:
        assert page.locator("tbody .flagged").inner_text().split()[:2] == ["⚑", "1"]
        assert page.locator("tbody .warned").count() == 0
        page.click("text=sub-1")
        assert page.locator("#detail .warnings li").all_inner_texts() == ["Too dim."]
        measure, other = page.locator("#detail .card", has_text="Quality").locator("tbody tr").all()
        assert measure.inner_text().split("\t")[1:] == ["1.25 %", "≥ 2"]
        assert other.inner_text().split("\t") == ["snr", "not known", "5 to 9"]


def test_another_model_is_named(tmp_path, open_page):
    write_result(tmp_path, "sub-1_FLAIR.nii.gz")
    other = settings_of("wmh").model_copy(update={"bundle": "other"})
    write_result(tmp_path, "sub-2_FLAIR.nii.gz", facts={"settings": other})
    with open_page(report_of(tmp_path)) as page:
        assert page.locator(".model strong").all_inner_texts() == ["toy", "other"]


def test_300_scans_are_below_50_mb_and_painted_within_2_s(tmp_path, pictures, open_page):
    volumes = np.random.default_rng(0).lognormal(1.5, 1.2, 300)
    for number, volume_ml in enumerate(volumes):
        name = f"sub-{number:03}_FLAIR.nii.gz"
        write_result(tmp_path, name, volume_ml=float(volume_ml), pictures=_enlarged(pictures))
    path = report_of(tmp_path)
    assert path.name == REPORT_NAME
    assert 25e6 < path.stat().st_size < 50e6  # as large as with real scans
    with open_page(path) as page:
        assert page.locator("#table tbody tr").count() == 300
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        assert paint < 2000


def _enlarged(pictures):
    """Pad the pictures to the 100 kB that those of a real scan take."""
    size = sum(len(one.image) for one in pictures.slices)
    padding = "A" * ((100_000 - size) // len(pictures.slices))
    slices = [one.model_copy(update={"image": one.image + padding}) for one in pictures.slices]
    return pictures.model_copy(update={"slices": slices})
