"""Which results in a folder are visits of one subject, and in which order."""

import shutil
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toys import write_head, write_toy_bundle
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.change.longitudinal_table import read_longitudinal_table
from wmh_runtime.change.order import by_dates, by_labels
from wmh_runtime.change.results import visits_of_results, visits_of_table
from wmh_runtime.change.visits import Visit
from wmh_runtime.cohort.plan import FolderOptions
from wmh_runtime.cohort.segment_folder import segment_folder
from wmh_runtime.errors import InputError
from wmh_runtime.outputs.folder_results import read_results
from wmh_runtime.outputs.paths import Extras


def visit(label, day=None):
    return Visit(label, Path("scan.nii"), Path("mask.nii"), day)


def labels_of(visits):
    return [one.label for one in visits]


def test_numbers_of_labels_count_as_people_count():
    labels = ["ses-10", "ses-2", "ses-1", "ses-02b"]
    found = by_labels([visit(label) for label in labels], "sub-1")
    assert labels_of(found) == ["ses-1", "ses-2", "ses-02b", "ses-10"]
    assert labels_of(by_labels([visit("M12"), visit("M00")], "sub-1")) == ["M00", "M12"]


@pytest.mark.parametrize(
    "labels",
    [
        *(("ses-baseline", "ses-1year"), ("pre", "post"), ("ses-1", "scan-2"), ("²x", "1")),
        *(("1", "٣"), ("ses-6m", "ses-1y"), ("ses-02012020", "ses-14032019")),
    ],
)
def test_labels_that_say_no_order_are_refused(labels):
    with pytest.raises(InputError, match="whose order the names do not say"):
        by_labels([visit(label) for label in labels], "sub-1")


def test_dates_come_before_labels_if_all_are_known():
    early, late = date(2019, 1, 1), date(2020, 1, 1)
    assert labels_of(
        by_dates([visit("1", late), visit("2", early)], "sub-1", is_ordered=False)
    ) == ["2", "1"]
    assert by_dates([visit("1"), visit("2")], "sub-1", is_ordered=False) is None
    with pytest.raises(InputError, match="has dates for some visits, but not for the visit "):
        by_dates([visit("1", late), visit("2")], "sub-1", is_ordered=False)


def test_visits_on_one_day_are_in_the_order_of_a_table_or_are_refused():
    day = date(2019, 1, 1)
    visits = [visit("b", day), visit("a", day)]
    assert labels_of(by_dates(visits, "sub-1", is_ordered=True)) == ["b", "a"]
    with pytest.raises(InputError, match="has 2 visits on 2019-01-01"):
        by_dates(visits, "sub-1", is_ordered=False)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=6, unique=True))
def test_visits_are_sorted_by_their_numbers(numbers):
    found = by_labels([visit(f"ses-{number}") for number in numbers], "sub-1")
    assert labels_of(found) == [f"ses-{number}" for number in sorted(numbers)]


SCANS = (
    *("sub-1/ses-2/sub-1_ses-2_FLAIR", "sub-1/ses-10/sub-1_ses-10_FLAIR"),
    *("sub-1/ses-1/sub-1_ses-1_FLAIR", "sub-2/ses-1/FLAIR", "sub-2/ses-2/FLAIR"),
    *("sub-3/ses-1/sub-3_ses-1_FLAIR", "sub-4_FLAIR", "P5_ses-1_FLAIR", "P5_ses-2_FLAIR"),
)


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmented")
    scans, out = folder / "scans", folder / "out"
    first = write_head(scans / f"{SCANS[0]}.nii.gz")
    for name in SCANS[1:]:
        (scans / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(first, scans / f"{name}.nii.gz")
    wanted = FolderOptions(extras=Extras(probability=True))
    bundle = write_toy_bundle(folder / "bundle")
    segment_folder(scans, out, load_bundle(bundle), folder_options=wanted)
    return folder


@pytest.fixture
def folders(segmented, tmp_path):
    """A copy of the scans and their results."""
    shutil.copytree(segmented, tmp_path, dirs_exist_ok=True)
    return tmp_path / "scans", tmp_path / "out"


def test_results_are_grouped_by_subject_and_session(folders):
    scans, out = folders
    table = scans / "sub-1" / "sub-1_sessions.tsv"
    table.write_text(
        "session_id\tacq_time\nses-1\t2019-03-14T09:30:00\nses-2\t2020-01-02\nses-10\t2019-12-01\n"
    )
    found = visits_of_results(read_results(out).results, out, scans)
    assert {subject: [one.label for one in visits] for subject, visits in found.items()} == {
        "P5": ["ses-1", "ses-2"],
        "sub-1": ["ses-1", "ses-10", "ses-2"],
        "sub-2": ["ses-1", "ses-2"],
    }
    first, third, second = found["sub-1"]
    assert first.scan == scans / "sub-1/ses-1/sub-1_ses-1_FLAIR.nii.gz"
    assert first.mask == out / "sub-1/ses-1/sub-1_ses-1_label-WMH_mask.nii.gz"
    assert first.probability == out / "sub-1/ses-1/sub-1_ses-1_label-WMH_probseg.nii.gz"
    assert (first.threshold, first.regions) == (0.75, None)
    assert (first.date, second.date, third.date) == (
        *(date(2019, 3, 14), date(2020, 1, 2), date(2019, 12, 1)),
    )
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


def test_without_dates_a_table_is_in_order(folders):
    scans, out = folders
    table = scans / "visits.csv"
    table.write_text(
        "subject,visit,scan\nA,pre,sub-1/ses-2/sub-1_ses-2_FLAIR.nii.gz\nA,post,sub-4_FLAIR.nii.gz\n"
    )
    visits = read_longitudinal_table(table)
    found = visits_of_table(visits, read_results(out).results, out, scans)
    assert labels_of(found["A"]) == ["pre", "post"]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (("2019-03-14", "n/a", "2020-01-02"), "has dates for some visits, but not for the visit "),
        (("2019-03-14", "01.05.2020", "2020-01-02"), "has the date '01.05.2020' of 2"),
    ],
)
def test_dates_that_are_in_doubt_are_the_failure_of_their_subject(folders, times, message):
    scans, out = folders
    rows = "".join(f"{n}\t{time}\n" for n, time in zip((1, 2, 10), times, strict=True))
    (scans / "sub-1" / "sub-1_sessions.tsv").write_text(f"session_id\tacq_time\n{rows}")
    found = visits_of_results(read_results(out).results, out, scans)
    assert message in str(found["sub-1"])
    assert labels_of(found["sub-2"]) == ["ses-1", "ses-2"]
