import pytest

from wmh_runtime.files.tables import read_table


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
