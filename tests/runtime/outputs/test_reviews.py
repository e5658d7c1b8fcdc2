"""Marks of readers: from their file to the tables."""

import csv
import os
import re
from datetime import UTC, date, datetime, time

import pytest

from tests.toys import write_head
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cohort.job import Progress
from wmh_runtime.cohort.plan import FolderOptions
from wmh_runtime.cohort.segment_folder import segment_folder
from wmh_runtime.errors import InputError
from wmh_runtime.outputs.reviews import Review, choose_review, disagreement, read_reviews

HEADER = "scan\toutput\tmask_sha256\tdecision\tnote\treviewer\ttime\n"


def test_the_last_mark_of_a_result_counts(tmp_path):
    table = tmp_path / "reviews.tsv"
    table.write_text(f"{HEADER}a\twmh\t\taccept\t\tBob\t\na\twmh\t\tEdit\t'-1+2\tBob\t\n")
    (review,) = read_reviews(table)
    assert (review.decision, review.note, review.reviewer) == ("edit", "-1+2", "Bob")


def test_the_newest_mark_counts_wherever_its_row_is(tmp_path):
    table = tmp_path / "reviews.tsv"
    # Two o'clock in Berlin is before half past one in UTC.
    rows = ("accept\t\t\t2026-02-01T13:30:00Z", "edit\t\t\t2026-02-01 14:00+01:00")
    table.write_text(HEADER + "".join(f"a\twmh\t\t{row}\n" for row in rows))
    (review,) = read_reviews(table)
    assert (review.decision, review.time) == ("accept", "2026-02-01T13:30:00Z")


def test_a_mark_without_a_time_has_that_of_its_file(tmp_path):
    table = tmp_path / "marks.csv"
    table.write_text("scan,decision,time\na,accept,2026-02-01T00:00:00Z\na,exclude,\n")
    for day, decision in ((date(2026, 1, 1), "accept"), (date(2026, 3, 1), "exclude")):
        seconds = datetime.combine(day, time.min, UTC).timestamp()
        os.utime(table, (seconds, seconds))
        (review,) = read_reviews(table)
        assert review.decision == decision


def review_of(decision, reviewer="", time="2026-01-01T00:00:00Z", mask_sha256=""):
    return Review("a", "wmh", mask_sha256, decision, "", reviewer, time)


def test_an_outdated_mark_does_not_hide_a_valid_one():
    old = review_of("accept", "Ann", "2026-02-01T00:00:00Z", mask_sha256="before")
    valid = review_of("edit", "Bob")
    assert choose_review([old, valid], "now") is valid
    assert choose_review([old], "now") is old
    assert old.is_outdated("now")
    assert choose_review([], "now") is None


def test_what_one_reader_takes_away_or_notes_cancels_no_decision_of_another():
    ann = review_of("exclude", "Ann")
    empty = review_of("", "Bob", "2026-02-01T00:00:00Z")
    note = Review("a", "wmh", "", "", "blurred", "Bob", "2026-02-01T00:00:00Z")
    assert choose_review([ann, empty], "now") is ann
    assert choose_review([ann, note], "now") is ann
    own = review_of("", "Ann", "2026-02-01T00:00:00Z")
    assert choose_review([ann, own], "now") is None


def test_one_reader_does_not_disagree_with_himself():
    of_all = Review("a", "", "", "exclude", "", "Ann", "2026-01-01T00:00:00Z")
    later = review_of("accept", "Ann", "2026-02-01T00:00:00Z")
    assert disagreement([of_all, later], "now") == ""
    assert choose_review([of_all, later], "now") is later


def test_an_excluded_scan_is_excluded_for_all_outputs():
    assert review_of("exclude").is_of("a", "other")
    assert not review_of("accept").is_of("a", "other")


def test_a_scan_that_cannot_be_used_is_excluded_whatever_its_mask():
    assert not review_of("exclude", mask_sha256="before").is_outdated("now")


def test_readers_who_disagree_are_named():
    ann, bob = review_of("exclude", "Ann"), review_of("accept", "Bob", "2026-02-01T00:00:00Z")
    assert disagreement([ann, bob], "now") == "Ann: exclude, Bob: accept"
    assert disagreement([ann, review_of("exclude", "Bob")], "now") == ""
    outdated = review_of("accept", "Bob", mask_sha256="before")
    assert disagreement([ann, outdated, review_of("", "Cleo")], "now") == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEADER + "a\twmh\t\tmaybe\t\t\t\n", "row 2 has the decision maybe. Write accept, edit"),
        (HEADER + "a\twmh\t\tedit\t\t\t29.11.2026\n", "row 2 has the time 29.11.2026. Write it as"),
        ("name\tdecision\na\taccept\n", "has the columns name, decision, but not scan"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path, text, says):
    (tmp_path / "reviews.tsv").write_text(text)
    with pytest.raises(InputError, match=re.escape(says)):
        read_reviews(tmp_path / "reviews.tsv")


def test_without_a_file_there_are_no_marks_but_a_named_file_must_exist(tmp_path):
    assert read_reviews(tmp_path / "reviews.tsv", is_optional=True) == []
    with pytest.raises(InputError, match="cannot be read"):
        read_reviews(tmp_path / "reviews.tsv")


class Warnings(Progress):
    def __init__(self):
        self.lines = []

    def warned(self, line):
        self.lines.append(line)


@pytest.fixture
def segment(tmp_path, toy_bundle):
    """Segment two scans; return the rows of the table by scan, and the warnings of the run."""
    for number, name in enumerate("ab"):
        write_head(tmp_path / "scans" / f"{name}.nii", lesions=number)

    def run(**options):
        heard, out = Warnings(), tmp_path / "out"
        wanted = FolderOptions(**options)
        bundle = load_bundle(toy_bundle)
        segment_folder(tmp_path / "scans", out, bundle, folder_options=wanted, progress=heard)
        with (out / "volumes.csv").open(encoding="utf-8") as file:
            return {row["scan"]: row for row in csv.DictReader(file)}, heard.lines

    return run


def test_marks_beside_the_report_are_in_the_table(tmp_path, segment):
    segment()
    (tmp_path / "out" / "reviews.tsv").write_text(
        f"{HEADER}a.nii\twmh\t\texclude\tmoved\tAnn\t\nc.nii\twmh\t\taccept\t\tAnn\t\n"
    )
    rows, warnings = segment()
    assert (rows["a.nii"]["review"], rows["a.nii"]["review_note"]) == ("exclude", "moved")
    assert (rows["b.nii"]["review"], rows["b.nii"]["review_note"]) == ("", "")
    assert warnings == [f"{tmp_path / 'out'}: 1 review of scans without a result, such as c.nii"]


def test_a_mark_without_an_output_is_of_all_outputs(tmp_path, segment):
    (tmp_path / "marks.csv").write_text("scan,decision\na.nii,exclude\n")
    rows, warnings = segment(reviewed=tmp_path / "marks.csv")
    assert (rows["a.nii"]["review"], rows["b.nii"]["review"], warnings) == ("exclude", "", [])


def test_marks_of_a_file_are_kept_for_the_next_run_and_newer_ones_count(tmp_path, segment):
    segment()
    kept, given = tmp_path / "out" / "reviews.tsv", tmp_path / "marks.tsv"
    kept.write_text(
        f"{HEADER}a.nii\twmh\t\taccept\t\tAnn\t2026-01-01T00:00:00Z\n"
        "b.nii\twmh\t\taccept\tfine\tAnn\t2026-03-01T00:00:00Z\n"
    )
    given.write_text(
        f"{HEADER}a.nii\twmh\t\t\t\tAnn\t2026-02-01T00:00:00Z\n"  # takes her mark away
        "b.nii\twmh\t\texclude\t\tBob\t2026-02-01T00:00:00Z\n"
    )
    for options in ({"reviewed": given}, {}):
        rows, _ = segment(**options)
        assert [rows[name]["review"] for name in ("a.nii", "b.nii")] == ["", "accept"]
        assert [rows[name]["reviewer"] for name in ("a.nii", "b.nii")] == ["", "Ann"]
        assert "readers disagree (Ann: accept, Bob: exclude)" in rows["b.nii"]["warnings"]
    assert [one.reviewer for one in read_reviews(kept)] == ["Ann", "Ann", "Bob"]


def test_a_mark_of_an_earlier_mask_is_not_used(tmp_path, segment):
    elsewhere = tmp_path / "marks.tsv"
    elsewhere.write_text(f"{HEADER}a.nii\twmh\t{'0' * 64}\taccept\t\tAnn\t\n")
    rows, warnings = segment(reviewed=elsewhere)
    assert rows["a.nii"]["review"] == ""
    assert "the review (accept) is of an earlier mask: repeat it" in rows["a.nii"]["warnings"]
    assert "1 review of masks that were made again, such as that of a.nii" in warnings[0]


def test_a_file_that_is_wrong_stops_the_run_before_it_begins(tmp_path, segment):
    (tmp_path / "marks.tsv").write_text("x\n1\n")
    with pytest.raises(InputError, match="but not scan, decision"):
        segment(reviewed=tmp_path / "marks.tsv")
    assert not list((tmp_path / "out").glob("*_mask.nii.gz"))
