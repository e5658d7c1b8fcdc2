import subprocess
import sys

from wmh_runtime.files.atomic import atomic_folder
from wmh_runtime.files.temporary import remove_folder, remove_temporary_files

KILLED = """
import os, pathlib, sys
from wmh_runtime.files.atomic import atomic_folder
with atomic_folder(pathlib.Path(sys.argv[1])) as partial:
    (partial / "half").touch()
    os._exit(1)
"""


def test_what_a_killed_process_left_is_removed_but_not_what_lives(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a")], check=False)
    (left,) = tmp_path.iterdir()
    # The same from another machine, where nobody here can see who lives.
    host = left.name.removeprefix(".wmh-partial-").partition("-")[0]
    elsewhere = tmp_path / left.name.replace(host, "elsewhere")
    elsewhere.mkdir()
    with atomic_folder(tmp_path / "b") as living:
        remove_temporary_files(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([elsewhere, living])


def test_a_discarded_folder_is_gone(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    remove_folder(tmp_path / "a")
    remove_folder(tmp_path / "never there")
    assert list(tmp_path.iterdir()) == []
