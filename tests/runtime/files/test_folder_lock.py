"""One run at a time in an output folder."""

import subprocess
import sys

import pytest

from wmh_runtime.errors import InputError
from wmh_runtime.files.folder_lock import lock_folder

HOLDER = """
import sys, time
from pathlib import Path
from wmh_runtime.files.folder_lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_until_the_first_ends_however_it_does(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="another run writes to it"), lock_folder(tmp_path):
        pass
    holder.kill()  # as the system does when memory ends
    holder.wait()
    holder.stdout.close()
    with lock_folder(tmp_path):
        pass


def test_a_run_can_follow_another(tmp_path):
    for _ in range(2):
        with lock_folder(tmp_path):
            pass
