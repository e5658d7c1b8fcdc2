import subprocess
import sys

from wmh_runtime.files.atomic import atomic_folder
from wmh_runtime.files.temporary import remove_folder, remove_temporary_files

KILLED = """
import os, pathlib, sys
from wmh_runtime.files.atomic import atomic_folder
with atomic_folder(pathlib.Path(sys.argv[1])) as temporary:
    (temporary / "half").touch()
    os._exit(1)
"""


def test_temporary_folders_of_killed_processes_are_removed(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a")], check=False)
    (leftover,) = tmp_path.iterdir()
    # The same from another machine, whose processes cannot be checked here.
    host, space, rest = leftover.name.removeprefix(".wmh-partial-").split("-", 2)
    elsewhere = tmp_path / f".wmh-partial-{host}-x{space[1:]}-{rest}"
    elsewhere.mkdir()
    with atomic_folder(tmp_path / "b") as in_use:
        remove_temporary_files(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([elsewhere, in_use])


def test_a_folder_is_removed_with_its_content(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    remove_folder(tmp_path / "a")
    remove_folder(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []
