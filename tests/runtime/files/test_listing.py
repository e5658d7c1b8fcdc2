"""A list of names says what was there, and asks for no file that is missing."""

import os

from wmh_runtime.files.listing import Listing


def test_files_and_folders_that_are_there_and_that_are_not(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.json").touch()
    listing = Listing(tmp_path)
    assert listing.has(tmp_path / "a" / "b" / "c.json")
    assert listing.has(tmp_path / "a")
    assert not listing.has(tmp_path / "a" / "b" / "d.json")
    assert not listing.has(tmp_path / "missing" / "deep" / "d.json")


def test_a_folder_that_is_missing_is_never_opened(tmp_path, monkeypatch):
    opened, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (opened.append(path), scandir(path))[1])
    listing = Listing(tmp_path)
    for name in ("x", "y"):
        assert not listing.has(tmp_path / "missing" / "deep" / name)
    assert opened == [tmp_path]


def test_a_top_folder_that_is_missing_holds_nothing(tmp_path):
    assert not Listing(tmp_path / "missing").has(tmp_path / "missing" / "a")
