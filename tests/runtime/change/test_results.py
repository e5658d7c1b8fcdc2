"""Which results in a folder are visits of one subject, and in which order."""

import shutil
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import write_head
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.change.longitudinal_table import read_longitudinal_table
from wmh_runtime.change.order import in_order, natural_key
from wmh_runtime.change.results import visits_of_results, visits_of_table
from wmh_runtime.change.visits import Visit
from wmh_runtime.cohort.segment_folder import FolderOptions, segment_folder
from wmh_runtime.outputs.folder_results import read_results
from wmh_runtime.outputs.paths import Extras


def visit(label, day=None):
    return Visit(label, Path("scan.nii"), Path("mask.nii"), day)


def test_sessions_are_in_the_order_in_which_people_count():
    labels = ["ses-10", "ses-2", "²x", "ses-1", "ses-02b", "ses-baseline"]
    assert [one.label for one in in_order(map(visit, labels))] == [
        *("ses-1", "ses-2", "ses-02b", "ses-10", "ses-baseline", "²x")
    ]


def test_dates_come_before_labels_if_all_are_known():
    early, late = date(2019, 1, 1), date(2020, 1, 1)
    assert [one.label for one in in_order([visit("2", early), visit("1", late)])] == ["2", "1"]
    assert [one.label for one in in_order([visit("2", early), visit("1")])] == ["1", "2"]


@given(st.lists(st.text(st.sampled_from("ab019.-"), min_size=1, max_size=6)))
def test_any_labels_can_be_sorted(labels):
    assert sorted(labels, key=natural_key) == sorted(sorted(labels), key=natural_key)


SCANS = (
    *("sub-1/ses-2/sub-1_ses-2_FLAIR", "sub-1/ses-10/sub-1_ses-10_FLAIR"),
    *("sub-1/ses-1/sub-1_ses-1_FLAIR", "sub-2/ses-1/FLAIR", "sub-2/ses-2/FLAIR"),
    *("sub-3/ses-1/sub-3_ses-1_FLAIR", "sub-4_FLAIR", "P5_ses-1_FLAIR", "P5_ses-2_FLAIR"),
)


@pytest.fixture
def folders(tmp_path, toy_bundle):
    scans, out = tmp_path / "scans", tmp_path / "out"
    first = write_head(scans / f"{SCANS[0]}.nii.gz")
    for name in SCANS[1:]:
        (scans / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(first, scans / f"{name}.nii.gz")
    wanted = FolderOptions(extras=Extras(probability=True))
    segment_folder(scans, out, load_bundle(toy_bundle), folder_options=wanted)
    return scans, out


def test_results_are_grouped_by_subject_and_session(folders):
    scans, out = folders
    table = scans / "sub-1" / "sub-1_sessions.tsv"
    table.write_text(
        "session_id\tacq_time\nses-1\t2019-03-14T09:30:00\nses-2\t2020-01-02\nses-10\tn/a\n"
    )
    found = visits_of_results(read_results(out).results, out, scans)
    assert {subject: [one.label for one in visits] for subject, visits in found.items()} == {
        "P5": ["ses-1", "ses-2"],
        "sub-1": ["ses-1", "ses-2", "ses-10"],
        "sub-2": ["ses-1", "ses-2"],
    }
    first, second, third = found["sub-1"]
    assert first.scan == scans / "sub-1/ses-1/sub-1_ses-1_FLAIR.nii.gz"
    assert first.mask == out / "sub-1/ses-1/sub-1_ses-1_label-WMH_mask.nii.gz"
    assert first.probability == out / "sub-1/ses-1/sub-1_ses-1_label-WMH_probseg.nii.gz"
    assert (first.threshold, first.regions) == (0.75, None)
    assert (first.date, second.date, third.date) == (date(2019, 3, 14), date(2020, 1, 2), None)
    assert all(path.is_file() for visits in found.values() for one in visits for path in one.files)


def test_the_results_of_a_table_are_found_by_their_scans(folders):
    scans, out = folders
    table = scans / "visits.csv"
    table.write_text(
        "subject,visit,date,scan\n"
        "A,second,2020-05-01,sub-1/ses-2/sub-1_ses-2_FLAIR.nii.gz\n"
        "A,first,2019-05-01,sub-4_FLAIR.nii.gz\n"
        "B,first,2019-05-01,P5_ses-1_FLAIR.nii.gz\n"
    )
    visits = read_longitudinal_table(table)
    found = visits_of_table(visits, read_results(out).results, out, scans)
    assert [one.label for one in found["A"]] == ["first", "second"]
    assert list(found) == ["A"]  # one visit is no change
    assert found["A"][1].mask == out / "sub-1/ses-2/sub-1_ses-2_label-WMH_mask.nii.gz"
    assert all(path.is_file() for one in found["A"] for path in one.files)
