import re

import pytest

from wmh_runtime.errors import RecipeError
from wmh_train.data.layouts import find_dataset
from wmh_train.data.table import scans_of_table


@pytest.fixture
def table(tmp_path):
    """A function that writes a table beside the files `scans/1.nii.gz` and `masks/1.nii.gz`."""
    for name in ("scans/1.nii.gz", "scans/sub-2_ses-1_FLAIR.nii.gz", "masks/1.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def write(*lines, name="heads.csv"):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    return write


def test_every_column_is_used(table):
    path = table(
        "site\tname\tsubject\twmh\tflair",
        "Leipzig\tone\tanna\tmasks/1.nii.gz\tscans/1.nii.gz",
        name="heads.tsv",
    )
    (scan,), notes = scans_of_table(path, ["flair"], ["wmh"])
    assert notes == []
    assert (scan.name, scan.subject, scan.site) == ("one", "anna", "Leipzig")
    assert scan.channels == (path.parent / "scans/1.nii.gz",)
    assert scan.references == (path.parent / "masks/1.nii.gz",)


def test_names_and_subjects_come_from_the_paths_by_default(table):
    path = table(
        "flair, wmh",
        "scans/1.nii.gz, masks/1.nii.gz",
        "scans/sub-2_ses-1_FLAIR.nii.gz, masks/1.nii.gz",
    )
    scans, _ = scans_of_table(path, ["flair"], ["wmh"])
    assert [(scan.name, scan.subject, scan.site) for scan in scans] == [
        ("1", "1", ""),
        ("sub-2_ses-1", "sub-2", ""),
    ]


def test_rows_without_a_subject_are_reported(table):
    without = table("name,flair,wmh", *(f"{n},scans/1.nii.gz,masks/1.nii.gz" for n in "abc"))
    (note,) = find_dataset(without, ["flair"], ["wmh"]).notes
    assert "heads.csv: 3 of 3 rows have no subject, neither in a column nor in their name" in note
    named = table(
        "name,flair,wmh", "sub-1_ses-1,scans/1.nii.gz,", "P2_ses-1,scans/1.nii.gz,", name="c.csv"
    )
    assert scans_of_table(named, ["flair"], ["wmh"])[1] == []
    some = table(
        "name,subject,flair,wmh", *(f"{n},{n},scans/1.nii.gz," for n in "ab"), name="b.csv"
    )
    assert scans_of_table(some, ["flair"], ["wmh"])[1] == []
    some.write_text(some.read_text().replace("b,b,", "b,,"))
    assert "1 of 2 rows have no subject" in scans_of_table(some, ["flair"], ["wmh"])[1][0]


@pytest.mark.parametrize("name", ["/x", "../x", "a/../../x", ".", "..", "a//b", "a/"])
def test_a_name_that_is_not_a_plain_relative_path_is_refused(table, name):
    path = table("name,flair,wmh", f"{name},scans/1.nii.gz,masks/1.nii.gz")
    with pytest.raises(RecipeError, match=rf"row 2 has the name {re.escape(name)}, expected"):
        scans_of_table(path, ["flair"], ["wmh"])


def test_a_name_may_be_a_path(table):
    path = table("name,flair,wmh", "Utrecht/a..b,scans/1.nii.gz,masks/1.nii.gz")
    (scan,), _ = scans_of_table(path, ["flair"], ["wmh"])
    assert (scan.name, scan.subject) == ("Utrecht/a..b", "Utrecht/a..b")


def test_a_row_without_a_mask_is_skipped(table):
    path = table(
        "name,flair,wmh", "a,scans/1.nii.gz,", "b,scans/1.nii.gz,masks/1.nii.gz", "c,scans/1.nii.gz"
    )
    dataset = find_dataset(path, ["flair"], ["wmh"])
    assert [scan.name for scan in dataset.scans] == ["b"]
    assert dataset.unannotated == ("a", "c")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,flair", "a,scans/1.nii.gz"], "has the columns name, flair, but not wmh"),
        (["flair,wmh"], "contains no scan"),
        (["flair,wmh", "scans/1.nii.gz,masks/7.nii.gz"], "row 2 contains masks/7.nii.gz"),
        (["flair,wmh", "scans/7.nii.gz,"], "row 2 contains scans/7.nii.gz"),
        (["flair,wmh", ",masks/1.nii.gz"], "row 2 has no flair"),
        (
            ["flair,wmh", "scans/1.nii.gz,", "scans/1.nii.gz,masks/1.nii.gz"],
            "rows 2 and 3 are both named 1",
        ),
    ],
)
def test_missing_columns_rows_and_files_are_reported(table, lines, message):
    with pytest.raises(RecipeError, match=message):
        scans_of_table(table(*lines), ["flair"], ["wmh"])


def test_a_file_of_another_type_is_refused(table):
    with pytest.raises(RecipeError, match="is not a table"):
        scans_of_table(table("flair,wmh", name="heads.txt"), ["flair"], ["wmh"])
