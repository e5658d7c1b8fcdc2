"""A table of scans."""

from pathlib import Path

import pytest

from wmh_runtime.dataset.table import cases_of_table
from wmh_runtime.errors import InputError


def table(folder, text):
    for name in ("a_FLAIR.nii", "a_T1.nii", "b_FLAIR.nii"):
        (folder / name).touch()
    (folder / "t.csv").write_text(text)
    return folder / "t.csv"


def test_rows_are_cases_and_empty_cells_are_missing_images(tmp_path):
    path = table(tmp_path, "flair,t1\na_FLAIR.nii,a_T1.nii\nb_FLAIR.nii,n/a\n")
    first, second = cases_of_table(path, ["flair", "t1"])
    assert first.others == {"t1": tmp_path / "a_T1.nii"}
    assert (second.relative, dict(second.others)) == (Path("b_FLAIR.nii"), {})


def test_a_row_with_t1_only_is_named_after_it(tmp_path):
    (case,) = cases_of_table(table(tmp_path, "flair,t1\n,a_T1.nii\n"), ["flair", "t1"])
    assert (case.channel, case.relative) == ("t1", Path("a_T1.nii"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("flair,t1\n", "contains no scan"),
        ("flair,t1w\na_FLAIR.nii,a_T1.nii\n", "has the columns flair, t1w, but not t1"),
        ("flair,t1\n,n/a\n", "row 2 has no image"),
        ("flair,t1\nc.nii,a_T1.nii\n", "contains 1 file that cannot be found: c.nii in row 2"),
        (
            "flair,t1\nc.nii,\nd.nii,\n",
            "contains 2 files that cannot be found: c.nii in row 2, d.nii in row 3",
        ),
        ("flair,t1\na_FLAIR.nii,a_T1.nii\nb_FLAIR.nii,a_T1.nii\n", "rows 2 and 3 both contain"),
    ],
)
def test_a_table_that_is_wrong_is_refused(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        cases_of_table(table(tmp_path, text), ["flair", "t1"])


def scan_list(folder, text):
    table(folder, "")
    (folder / "l.txt").write_text(text, encoding="utf-8")
    return folder / "l.txt"


def test_a_list_has_a_scan_in_each_line(tmp_path):
    path = scan_list(tmp_path, f"# two scans\n\nb_FLAIR.nii\n  {tmp_path / 'a_FLAIR.nii'}  \n")
    second, first = cases_of_table(path, ["flair", "t1"])
    assert (second.relative, first.path) == (Path("b_FLAIR.nii"), tmp_path / "a_FLAIR.nii")
    assert dict(first.others) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# nothing\n", "contains no scan"),
        ("\n\nc.nii\n", "found: c.nii in row 3. Paths are relative"),
        ("a_FLAIR.nii\na_FLAIR.nii\n", "rows 1 and 2 both contain"),
    ],
)
def test_a_list_that_is_wrong_is_refused(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        cases_of_table(scan_list(tmp_path, text), ["flair"])
