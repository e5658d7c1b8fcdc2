import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmh_runtime.files.tables import (
    as_plain_cell,
    read_table,
    text_of_plain_cell,
    write_table_atomically,
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "name,flair\none,a b.nii\n"),
        ("a.csv", "Name;FLAIR\r\none;a b.nii\r\n"),
        ("a.csv", "\ufeffname;flair\none;a b.nii\n"),
        ("a.csv", "name\tflair\none\ta b.nii\n"),
        ("a.tsv", "name\tflair\none\ta b.nii\n"),
        ("a.csv", 'name,flair\n"one","a b.nii"\n'),
        ("a.csv", "name , flair\n one, a b.nii \n\n"),
    ],
)
def test_cells_are_separated_by_what_the_first_line_has_most_of(tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode())
    assert read_table(tmp_path / name) == [{"name": "one", "flair": "a b.nii"}]


def test_commas_in_cells_of_a_table_with_semicolons_stay(tmp_path):
    (tmp_path / "a.csv").write_text("name;volume_ml\none;1,5\n", encoding="utf-8")
    assert read_table(tmp_path / "a.csv") == [{"name": "one", "volume_ml": "1,5"}]
    (tmp_path / "b.tsv").write_text("name\tvolumes;of,all\none\t1\n", encoding="utf-8")
    assert read_table(tmp_path / "b.tsv") == [{"name": "one", "volumes;of,all": "1"}]


def test_missing_cells_are_empty_and_lines_within_quotes_are_one_cell(tmp_path):
    (tmp_path / "a.csv").write_text('a,b,c\n1\n"x\ny",2\n', encoding="utf-8")
    assert read_table(tmp_path / "a.csv") == [
        {"a": "1", "b": "", "c": ""},
        {"a": "x\ny", "b": "2", "c": ""},
    ]


def test_cells_that_would_be_formulas_are_written_as_text(tmp_path):
    cells = {
        "a": "=HYPERLINK(1)",
        "b": "+1+2",
        "c": "-2+3|cmd",
        "d": "@SUM(A1)",
        "e": "-1.5e-3",  # a number
        "f": -2,
        "g": "'=quoted",
        "h": "sub-1",
    }
    write_table_atomically(tmp_path / "a.csv", [cells])
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == (
        "'=HYPERLINK(1),'+1+2,'-2+3|cmd,'@SUM(A1),-1.5e-3,-2,''=quoted,sub-1"
    )
    assert read_table(tmp_path / "a.csv") == [{**cells, "f": "-2"}]


@given(st.text())
def test_the_text_of_a_cell_is_read_back_and_never_begins_like_a_formula(text):
    cell = as_plain_cell(text)
    assert text_of_plain_cell(cell) == text
    assert cell[:1] not in tuple("=@\t\r\n")
    if cell[:1] in ("+", "-"):
        float(cell)


def test_an_apostrophe_of_the_user_stays():
    assert text_of_plain_cell("'tis") == "'tis"


def test_a_table_without_rows_has_the_names_of_its_columns(tmp_path):
    write_table_atomically(tmp_path / "a.tsv", [], delimiter="\t", columns=["index", "name"])
    assert (tmp_path / "a.tsv").read_text() == "index\tname\n"
