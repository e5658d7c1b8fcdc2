"""A table of visits, as people write it."""

from datetime import date

import pytest

from wmh_runtime.change.longitudinal_table import read_longitudinal_table
from wmh_runtime.errors import InputError


@pytest.fixture
def table(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"scan")

    def write(text, name="visits.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_subjects_and_visits_in_the_order_of_the_table(table):
    found = read_longitudinal_table(
        table("Subject;Visit;Date;Scan\nP1;m12;2020-03-20;b.nii.gz\nP1;m0;2019-03-14;a.nii.gz\n")
    )
    assert [(one.label, one.date) for one in found["P1"]] == [
        ("m12", date(2020, 3, 20)),
        ("m0", date(2019, 3, 14)),
    ]


def test_dates_may_be_missing(table):
    text = "subject\tvisit\tscan\nP1\t1\ta.nii.gz\nP2\t1\tb.nii.gz\n"
    found = read_longitudinal_table(table(text, "visits.tsv"))
    assert [one.date for visits in found.values() for one in visits] == [None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no visit"),
        ("subject,visit,scan\n", "contains no visit"),
        ("subject,scan\nP1,a.nii.gz\n", "but not visit"),
        ("subject,visit,scan\n,1,a.nii.gz\n", "row 2 has no subject"),
        ("subject,visit,scan\nP1,,a.nii.gz\n", "row 2 has no visit"),
        ("subject,visit,scan\nP1,1,n/a\n", "row 2 has no scan"),
        ("subject,visit,scan\nP1,1,z.nii.gz\n", "row 2 contains z.nii.gz, which does not exist"),
        ("subject,visit,scan\n../P1,1,a.nii.gz\n", "cannot be part of a file name"),
        ("subject,visit,scan\nP1,1/2,a.nii.gz\n", "row 2 has the visit '1/2'"),
        (
            "subject,visit,scan\nP1,1,a.nii.gz\nP1,1,b.nii.gz\n",
            "rows 2 and 3 both have the visit 1 of P1",
        ),
        (
            "subject,visit,scan\nP1,1,a.nii.gz\nP1,2,a.nii.gz\n",
            "rows 2 and 3 both have the scan a.nii.gz",
        ),
        (
            "subject,visit,scan\nP1,1,a.nii.gz\nP1,2,sub/../a.nii.gz\n",
            "rows 2 and 3 both have the scan sub/../a.nii.gz",
        ),
        ("subject,visit,date,scan\nP1,1,14.03.2019,a.nii.gz\n", "has the date '14.03.2019'"),
        ("subject,visit,date,scan\nP1,1,2019-02-30,a.nii.gz\n", "has the date '2019-02-30'"),
        (
            "subject,visit,date,scan\nP1,1,2019-02-03,a.nii.gz\nP1,2,,b.nii.gz\n",
            "has dates for some visits of P1, but not for the visit 2",
        ),
    ],
)
def test_a_table_that_cannot_be_used_says_why(table, text, message):
    with pytest.raises(InputError, match=r"visits\.csv") as raised:
        read_longitudinal_table(table(text))
    assert message in str(raised.value)


def test_a_table_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "visits.csv"
    path.write_bytes(b"\xff\xfe\x00subject")
    with pytest.raises(InputError, match="cannot be read"):
        read_longitudinal_table(path)
