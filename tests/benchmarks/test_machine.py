"""What is said of the machine."""

import subprocess

import pytest

from wmh_bench import environment, machine
from wmh_bench.environment import commit
from wmh_bench.machine import gpus_told, this_machine

TOLD = """NVIDIA GeForce RTX 4090, 580.95.05, 24564, 2520, 3105, 450.00
NVIDIA Thor, 580.00, [N/A], [N/A], 1575, [Not Supported]
"""


def test_what_nvidia_smi_says_is_read():
    first, second = gpus_told(TOLD)
    assert (first.name, first.driver) == ("NVIDIA GeForce RTX 4090", "580.95.05")
    assert (first.memory_mib, first.clock_mhz, first.most_clock_mhz) == (24564, 2520, 3105)
    assert first.power_limit_w == 450
    assert (second.memory_mib, second.most_clock_mhz, second.power_limit_w) == (None, 1575, None)


def test_a_driver_without_devices_has_none():
    assert gpus_told("No devices were found\n") == []


@pytest.mark.parametrize("error", [OSError("gone"), subprocess.TimeoutExpired("nvidia-smi", 1)])
def test_a_driver_that_does_not_answer_has_no_gpus(monkeypatch, error):
    monkeypatch.setattr(machine.shutil, "which", lambda _: "nvidia-smi")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(machine.subprocess, "run", fail)
    assert this_machine().gpus == []


def git(folder, *arguments):
    me = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    subprocess.run(["git", "-C", folder, *me, *arguments], check=True, capture_output=True)


def test_a_result_names_the_commit_and_whether_it_was_changed(tmp_path, monkeypatch):
    code = tmp_path / "code.py"
    code.write_text("1")
    monkeypatch.setattr(environment, "__file__", str(code))
    assert commit() == ""  # no checkout
    git(tmp_path, "init")
    assert commit() == ""  # of something else: the code is not in it
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-m", "one")
    clean = commit()
    assert len(clean) == 40
    code.write_text("2")
    assert commit() == f"{clean}+"
