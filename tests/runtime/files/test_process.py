"""Whether the process that wrote a file has ended: never claimed of one that may be alive."""

import os
import subprocess
import sys
import time

import pytest

from wmh_runtime.files import process as process_module
from wmh_runtime.files.process import ProcessId, this_process

PRINT = "from wmh_runtime.files.process import this_process; print(this_process())"


def test_this_process_is_alive_and_has_a_name_of_its_own():
    own = this_process()
    assert own.number == os.getpid()
    assert ProcessId.parse(str(own)) == own
    assert not own.has_ended


def test_a_process_that_ended_has_ended():
    said = subprocess.check_output([sys.executable, "-c", PRINT], text=True).strip()
    ended = ProcessId.parse(said)
    assert ended.space == this_process().space
    assert ended.has_ended


def test_a_later_process_with_the_same_number_is_another_one():
    assert this_process()._replace(start=this_process().start - 1).has_ended


def test_of_another_machine_or_boot_nothing_is_known():
    assert not ProcessId("far", "00000000", 2**22, 1).has_ended


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
def test_a_killed_process_that_its_parent_has_not_asked_for_has_ended():
    command = [sys.executable, "-c", f"{PRINT}; import time; time.sleep(60)"]
    with subprocess.Popen([*command], stdout=subprocess.PIPE, text=True, bufsize=1) as child:
        os.set_blocking(child.stdout.fileno(), True)
        started = this_process()._replace(number=child.pid, start=process_module._start(child.pid))
        assert not started.has_ended
        child.kill()
        while process_module._start(child.pid) != -1:
            time.sleep(0.01)
        assert started.has_ended


def test_a_process_that_is_hidden_from_this_user_is_taken_for_alive(monkeypatch):
    monkeypatch.setattr(process_module, "_start", lambda _: None)  # as with hidepid
    assert not this_process()._replace(start=1).has_ended


@pytest.mark.parametrize("text", ["", "a-b-c-d", "a-b-1", "host-00-1-2-3", "a-b-1-²"])
def test_other_texts_are_no_process(text):
    assert ProcessId.parse(text) is None
