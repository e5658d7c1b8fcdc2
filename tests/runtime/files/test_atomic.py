from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import (
    atomic_folder,
    atomic_path,
    write_bytes_atomically,
    write_text_atomically,
)
from wmh_runtime.files.temporary import is_temporary


def fail_halfway(final: Path, interruption: BaseException) -> None:
    with atomic_path(final) as temporary:
        temporary.write_bytes(b"half of")
        raise interruption


def test_the_final_name_appears_only_after_the_block(tmp_path: Path) -> None:
    final = tmp_path / "mask.nii.gz"
    with atomic_path(final) as temporary:
        temporary.write_bytes(b"all of it")
        assert not final.exists()
    assert final.read_bytes() == b"all of it"
    assert list(tmp_path.iterdir()) == [final]


def test_the_temporary_path_is_hidden_and_keeps_the_suffixes(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "mask.nii.gz") as temporary:
        temporary.touch()
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".wmh-partial-")
        assert temporary.name.endswith(".nii.gz")
        assert is_temporary(temporary)
    assert not is_temporary(tmp_path / "mask.nii.gz")


def test_two_writers_of_the_same_file_use_different_temporary_paths(tmp_path: Path) -> None:
    final = tmp_path / "report.html"
    with atomic_path(final) as first, atomic_path(final) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert final.read_text() == "first"  # its block ends last


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_block_leaves_the_previous_file_and_nothing_else(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    final = tmp_path / "mask.nii.gz"
    final.write_bytes(b"previous")
    with pytest.raises(interruption):
        fail_halfway(final, interruption())
    assert final.read_bytes() == b"previous"
    assert list(tmp_path.iterdir()) == [final]


def test_a_name_of_the_longest_length_can_be_written(tmp_path: Path) -> None:
    final = tmp_path / ("x" * (255 - len(".nii.gz")) + ".nii.gz")
    write_bytes_atomically(final, b"data")
    assert final.read_bytes() == b"data"


def test_text_is_utf8_with_its_line_ends_unchanged(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "a.csv", "µl\n³\n")
    assert (tmp_path / "a.csv").read_bytes() == b"\xc2\xb5l\n\xc2\xb3\n"


def test_the_data_are_on_disk_before_the_final_name_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "a.bin"
    named_when_flushed = []
    monkeypatch.setattr(os, "fsync", lambda _: named_when_flushed.append(final.exists()))
    write_bytes_atomically(final, b"data")
    assert named_when_flushed == [False]


def test_a_missing_folder_is_reported_with_advice(tmp_path: Path) -> None:
    final = tmp_path / "nowhere" / "mask.nii"
    with pytest.raises(InputError, match=r"No such file or directory.*Create the folder") as caught:
        write_bytes_atomically(final, b"data")
    assert caught.value.about == final


def test_a_folder_with_the_final_name_is_not_replaced(tmp_path: Path) -> None:
    final = tmp_path / "mask.nii"
    final.mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_bytes_atomically(final, b"data")
    assert list(tmp_path.iterdir()) == [final]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EACCES, "Check the permissions"),
        (errno.EIO, "the disk"),
    ],
)
def test_a_disk_error_is_explained_and_leaves_no_file(
    tmp_path: Path, number: int, remedy: str
) -> None:
    final = tmp_path / "mask.nii"
    with pytest.raises(InputError, match=remedy) as caught:
        fail_halfway(final, OSError(number, os.strerror(number)))
    assert os.strerror(number) in str(caught.value)
    assert str(final) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_after_its_block(tmp_path: Path) -> None:
    final = tmp_path / "a"
    with atomic_folder(final) as temporary:
        (temporary / "file").touch()
        assert temporary.parent == tmp_path
        assert not final.exists()
    assert list(tmp_path.rglob("*")) == [final, final / "file"]


def fail_halfway_in_folder(final: Path, interruption: BaseException) -> None:
    with atomic_folder(final) as temporary:
        (temporary / "half").touch()
        raise interruption


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_block_leaves_no_folder(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    with pytest.raises(interruption):
        fail_halfway_in_folder(tmp_path / "a", interruption())
    assert list(tmp_path.iterdir()) == []


def create_twice(final: Path, *, keep_existing: bool) -> None:
    with atomic_folder(final, keep_existing=keep_existing) as slow:
        (slow / "slow").touch()
        with atomic_folder(final) as fast:
            (fast / "fast").touch()


def test_the_folder_of_the_faster_writer_is_kept(tmp_path: Path) -> None:
    final = tmp_path / "a"
    create_twice(final, keep_existing=True)
    assert list(tmp_path.rglob("*")) == [final, final / "fast"]


def test_a_folder_created_in_the_meantime_is_an_error_by_default(tmp_path: Path) -> None:
    final = tmp_path / "a"
    with pytest.raises(OSError, match="not empty"):
        create_twice(final, keep_existing=False)
    assert list(tmp_path.rglob("*")) == [final, final / "fast"]
