import subprocess
import sys

import pytest

from wmh_train.data.atomic_folders import atomic_folder, discard, remove_leftovers

KILLED = """
import os, pathlib, sys
from wmh_train.data.atomic_folders import atomic_folder
with atomic_folder(pathlib.Path(sys.argv[1])) as partial:
    (partial / "half").touch()
    os._exit(1)
"""


def write_half_of(final, interruption):
    with atomic_folder(final) as partial:
        (partial / "half").touch()
        raise interruption


def test_the_folder_appears_after_the_block(tmp_path):
    final = tmp_path / "a"
    with atomic_folder(final) as partial:
        (partial / "file").touch()
        assert partial.parent == tmp_path
        assert not final.exists()
    assert list(tmp_path.rglob("*")) == [final, final / "file"]


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_block_leaves_nothing(tmp_path, interruption):
    with pytest.raises(interruption):
        write_half_of(tmp_path / "a", interruption)
    assert list(tmp_path.iterdir()) == []


def test_the_faster_of_two_writers_stays(tmp_path):
    final = tmp_path / "a"
    with atomic_folder(final) as slow:
        (slow / "slow").touch()
        with atomic_folder(final) as fast:
            (fast / "fast").touch()
    assert list(tmp_path.rglob("*")) == [final, final / "fast"]


def test_what_a_killed_process_left_is_removed_but_not_what_lives(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a")], check=False)
    (left,) = tmp_path.iterdir()
    # The same from another machine, where nobody here can see who lives.
    host = left.name.removeprefix(".wmh-partial-").partition("-")[0]
    elsewhere = tmp_path / left.name.replace(host, "elsewhere")
    elsewhere.mkdir()
    with atomic_folder(tmp_path / "b") as living:
        remove_leftovers(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([elsewhere, living])


def test_a_discarded_folder_is_gone(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    discard(tmp_path / "a")
    discard(tmp_path / "never there")
    assert list(tmp_path.iterdir()) == []
