"""Processes of a pool end with the program, and a lost one is an error of one line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.processes import wait_until
from wmh_runtime.errors import InputError
from wmh_train.worker_processes import lost_process_as_error, open_pool

WORKERS = 2
# Each worker says by a file that it has begun, and would then sleep for an hour.
PROGRAM = """
import sys, time
from pathlib import Path
from wmh_train.worker_processes import open_pool
pool = open_pool(int(sys.argv[1]))
for number in range(int(sys.argv[1])):
    pool.submit(Path(sys.argv[2], str(number)).touch)
    pool.submit(time.sleep, 3600)
time.sleep(3600)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


def test_the_processes_end_when_their_parent_is_killed(tmp_path):
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(WORKERS), str(tmp_path)], stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: len(list(tmp_path.iterdir())) == WORKERS)
        workers = psutil.Process(program.pid).children(recursive=True)
        assert len(workers) >= WORKERS
    finally:
        program.send_signal(signal.SIGKILL)
        program.wait()
    wait_until(lambda: not any(worker.is_running() for worker in workers))


def test_a_process_that_is_ended_from_outside_is_an_error_of_one_line():
    pool = open_pool(1)
    worker = pool.submit(os.getpid).result()
    os.kill(worker, signal.SIGKILL)
    with (
        pytest.raises(InputError) as caught,
        lost_process_as_error(Path("out"), process="a process", memory="about 2 GB"),
    ):
        pool.submit(time.sleep, 3600).result()
    pool.shutdown()
    assert str(caught.value) == (
        "out: could not be completed: a process was ended from outside."
        " Is there enough memory? Each needs about 2 GB. The same command continues."
    )


def test_the_processes_are_prepared_and_leave_ctrl_c_to_the_program(tmp_path):
    pool = open_pool(1, os.chdir, (tmp_path,))
    assert pool.submit(os.getcwd).result() == str(tmp_path.resolve())
    assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
    pool.shutdown()
