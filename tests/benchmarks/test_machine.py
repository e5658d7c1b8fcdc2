"""The description of the machine and of the source code."""

import subprocess

import pytest

from wmh_bench import environment, machine
from wmh_bench.environment import source_commit
from wmh_bench.machine import describe_machine, parse_nvidia_smi

NVIDIA_SMI_OUTPUT = """NVIDIA GeForce RTX 4090, 580.95.05, 24564, 2520, 3105, 450.00
NVIDIA Thor, 580.00, [N/A], [N/A], 1575, [Not Supported]
"""


def test_the_output_of_nvidia_smi_is_parsed():
    first, second = parse_nvidia_smi(NVIDIA_SMI_OUTPUT)
    assert (first.name, first.driver) == ("NVIDIA GeForce RTX 4090", "580.95.05")
    assert (first.memory_mib, first.clock_mhz, first.max_clock_mhz) == (24564, 2520, 3105)
    assert first.power_limit_w == 450
    assert (second.memory_mib, second.max_clock_mhz, second.power_limit_w) == (None, 1575, None)


def test_a_driver_without_devices_has_no_gpus():
    assert parse_nvidia_smi("No devices were found\n") == []


@pytest.mark.parametrize("error", [OSError("gone"), subprocess.TimeoutExpired("nvidia-smi", 1)])
def test_without_a_working_nvidia_smi_there_are_no_gpus(monkeypatch, error):
    monkeypatch.setattr(machine.shutil, "which", lambda _: "nvidia-smi")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(machine.subprocess, "run", fail)
    assert describe_machine().gpus == []


def git(folder, *arguments):
    me = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    subprocess.run(["git", "-C", folder, *me, *arguments], check=True, capture_output=True)


def test_the_commit_and_local_changes(tmp_path, monkeypatch):
    code = tmp_path / "code.py"
    code.write_text("1")
    monkeypatch.setattr(environment, "__file__", str(code))
    assert source_commit() == ""  # not a checkout
    git(tmp_path, "init")
    assert source_commit() == ""  # of another project: the code is not in it
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-m", "one")
    clean = source_commit()
    assert len(clean) == 40
    code.write_text("2")
    assert source_commit() == f"{clean}+"
