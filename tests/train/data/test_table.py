import re

import pytest

from wmh_runtime.errors import RecipeError
from wmh_train.data.layouts import find_data
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


def test_every_column_is_heard(table):
    path = table(
        "site\tname\tperson\twmh\tflair",
        "Leipzig\tone\tanna\tmasks/1.nii.gz\tscans/1.nii.gz",
        name="heads.tsv",
    )
    (scan,), notes = scans_of_table(path, ["flair"], ["wmh"])
    assert notes == []
    assert (scan.name, scan.person, scan.site) == ("one", "anna", "Leipzig")
    assert scan.channels == (path.parent / "scans/1.nii.gz",)
    assert scan.references == (path.parent / "masks/1.nii.gz",)


def test_names_and_persons_come_from_the_paths_where_none_are_given(table):
    path = table(
        "flair, wmh",
        "scans/1.nii.gz, masks/1.nii.gz",
        "scans/sub-2_ses-1_FLAIR.nii.gz, masks/1.nii.gz",
    )
    scans, _ = scans_of_table(path, ["flair"], ["wmh"])
    assert [(scan.name, scan.person, scan.site) for scan in scans] == [
        ("1", "1", ""),
        ("sub-2_ses-1", "sub-2", ""),
    ]


def test_rows_without_a_person_are_told(table):
    without = table("name,flair,wmh", *(f"{n},scans/1.nii.gz,masks/1.nii.gz" for n in "abc"))
    (note,) = find_data(without, ["flair"], ["wmh"]).notes
    assert "heads.csv: 3 of 3 rows give no person; each counts as a person of its own" in note
    some = table("name,person,flair,wmh", *(f"{n},{n},scans/1.nii.gz," for n in "ab"), name="b.csv")
    assert scans_of_table(some, ["flair"], ["wmh"])[1] == []
    some.write_text(some.read_text().replace("b,b,", "b,,"))
    assert "1 of 2 rows give no person" in scans_of_table(some, ["flair"], ["wmh"])[1][0]


@pytest.mark.parametrize("name", ["/x", "../x", "a/../../x", ".", "..", "a//b", "a/"])
def test_a_name_that_leads_elsewhere_is_refused(table, name):
    path = table("name,flair,wmh", f"{name},scans/1.nii.gz,masks/1.nii.gz")
    with pytest.raises(RecipeError, match=rf"row 2 has the name {re.escape(name)}, expected"):
        scans_of_table(path, ["flair"], ["wmh"])


def test_a_name_may_be_a_path(table):
    path = table("name,flair,wmh", "Utrecht/a..b,scans/1.nii.gz,masks/1.nii.gz")
    (scan,), _ = scans_of_table(path, ["flair"], ["wmh"])
    assert (scan.name, scan.person) == ("Utrecht/a..b", "Utrecht/a..b")


def test_a_row_without_a_mask_is_passed_over(table):
    path = table(
        "name,flair,wmh", "a,scans/1.nii.gz,", "b,scans/1.nii.gz,masks/1.nii.gz", "c,scans/1.nii.gz"
    )
    found = find_data(path, ["flair"], ["wmh"])
    assert [scan.name for scan in found.scans] == ["b"]
    assert found.unannotated == ("a", "c")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["name,flair", "a,scans/1.nii.gz"], "no column wmh, but name, flair"),
        (["flair,wmh"], "names no scan"),
        (["flair,wmh", "scans/1.nii.gz,masks/7.nii.gz"], "row 2 names masks/7.nii.gz"),
        (["flair,wmh", "scans/7.nii.gz,"], "row 2 names scans/7.nii.gz"),
        (["flair,wmh", ",masks/1.nii.gz"], "row 2 gives no flair"),
        (
            ["flair,wmh", "scans/1.nii.gz,", "scans/1.nii.gz,masks/1.nii.gz"],
            "rows 2 and 3 are both named 1",
        ),
    ],
)
def test_what_a_table_lacks_is_told(table, lines, said):
    with pytest.raises(RecipeError, match=said):
        scans_of_table(table(*lines), ["flair"], ["wmh"])


def test_another_file_is_no_table(table):
    with pytest.raises(RecipeError, match="is no table"):
        scans_of_table(table("flair,wmh", name="heads.txt"), ["flair"], ["wmh"])
