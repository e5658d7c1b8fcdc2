import os
from pathlib import Path

import pytest

from wmh_runtime.files.folders import walk


def make_folders(top, *names):
    for name in names:
        (top / name).mkdir(parents=True)


def folders_of(top, **options):
    return [folder.relative_to(top).as_posix() for folder, _, _ in walk(top, **options)]


def test_folders_and_files_come_in_sorted_order(tmp_path, monkeypatch):
    make_folders(tmp_path, "b", "a/y", "a/x")
    for name in ("2", "1"):
        (tmp_path / name).touch()
    walk_of_disk = os.walk

    def descending(folder, **options):
        for current, subfolders, names in walk_of_disk(folder, **options):
            subfolders.sort(reverse=True)
            yield current, subfolders, sorted(names, reverse=True)

    monkeypatch.setattr("os.walk", descending)
    assert folders_of(tmp_path) == [".", "a", "a/x", "a/y", "b"]
    assert next(iter(walk(tmp_path)))[2] == ["1", "2"]


def test_links_are_names_and_only_loops_are_refused(tmp_path):
    make_folders(tmp_path, "top/sub-01/anat", "far")
    (tmp_path / "top" / "sub-02").symlink_to("sub-01")
    (tmp_path / "top" / "sub-01" / "anat" / "up").symlink_to(tmp_path / "top")
    (tmp_path / "top" / "self").symlink_to("self")
    assert folders_of(tmp_path / "top") == [
        *(".", "sub-01", "sub-01/anat", "sub-02", "sub-02/anat")
    ]


def test_a_folder_is_left_out_whatever_path_leads_to_it(tmp_path):
    make_folders(tmp_path, "top/results/deep", "top/scans")
    (tmp_path / "top" / "link").symlink_to("results")
    assert folders_of(tmp_path / "top", except_for=tmp_path / "top" / "results") == [".", "scans"]
    assert len(folders_of(tmp_path / "top", except_for=tmp_path / "top")) == 6
    assert len(folders_of(tmp_path / "top", except_for=tmp_path / "nowhere")) == 6


@pytest.mark.parametrize("top", [".", "top"])
def test_a_relative_path_is_walked_like_an_absolute_one(tmp_path, monkeypatch, top):
    make_folders(tmp_path, "top/a/b", "top/c")
    monkeypatch.chdir(tmp_path if top == "top" else tmp_path / "top")
    (tmp_path / "top" / "a" / "b" / "up").symlink_to(tmp_path / "top")
    assert folders_of(Path(top)) == [".", "a", "a/b", "c"]
