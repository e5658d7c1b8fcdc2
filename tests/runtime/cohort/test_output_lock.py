"""One run at a time in an output folder."""

import subprocess
import sys

import pytest

from wmh_runtime.cohort.output_lock import only_run_in
from wmh_runtime.errors import InputError

HOLDER = """
import sys, time
from pathlib import Path
from wmh_runtime.cohort.output_lock import only_run_in
with only_run_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_until_the_first_ends_however_it_does(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="another run writes to it"), only_run_in(tmp_path):
        pass
    holder.kill()  # as the system does when memory ends
    holder.wait()
    holder.stdout.close()
    with only_run_in(tmp_path):
        pass


def test_a_run_can_follow_another(tmp_path):
    for _ in range(2):
        with only_run_in(tmp_path):
            pass
