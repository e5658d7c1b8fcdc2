"""What this process may use, in containers and cluster jobs with limits."""

import os

import pytest

from wmh_runtime import control_groups, machine
from wmh_runtime.machine import available_cores, free_bytes


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """An empty tree of control groups; a test writes to which ones the process belongs."""
    monkeypatch.setattr(control_groups, "_OWN_GROUPS", tmp_path / "self")
    monkeypatch.setattr(control_groups, "_ROOT", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16), raising=False)
    return tmp_path


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{content}\n")


@pytest.fixture
def group(groups):
    """The control group (version 2) of a cluster's job, within that of a container."""
    (groups / "self").write_text("0::/job/step\n")
    group = groups / "groups" / "job" / "step"
    group.mkdir(parents=True)
    return group


def limit(group, most, used, files):
    stat = f"anon 500000\ninactive_file {files}\nshmem 0"
    write(group, memory_max=most, memory_current=used, memory_stat=stat)


def test_the_memory_limit_of_a_job_counts_but_not_its_file_cache(group):
    of_machine = free_bytes()
    assert of_machine > 10**8
    limit(group, 3_000_000, used=2_500_000, files=1_000_000)
    assert free_bytes() == 1_500_000
    limit(group, "max", used=2_500_000, files=0)
    assert free_bytes() == pytest.approx(of_machine, rel=0.5)


def test_the_memory_limits_of_parent_groups_count_too(group):
    limit(group, 9_000_000, used=0, files=0)
    limit(group.parent, 3_000_000, used=1_000_000, files=0)
    assert free_bytes() == 2_000_000
    limit(group.parents[1], 1_000_000, used=0, files=0)
    assert free_bytes() == 1_000_000


def test_a_group_that_tells_less_is_no_error(group):
    limit(group, 3_000_000, used=1_000_000, files=0)
    (group / "memory.stat").write_text("anon 500000\n")
    assert free_bytes() == 2_000_000


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 16),
        ("400000 100000", 4),
        ("250000 100000", 3),  # 2.5 cores
        ("50000 100000", 1),  # half a core
        ("1000 100000", 1),
        ("6400000 100000", 16),  # more than the machine has
        ("4", 16),  # not as documented
        ("", 16),
    ],
)
def test_the_quota_of_a_job_limits_its_cores(group, quota, cores):
    write(group, cpu_max=quota)
    assert available_cores() == cores


def test_the_smallest_quota_of_all_parent_groups_counts(group):
    write(group, cpu_max="800000 100000")
    write(group.parent, cpu_max="300000 100000")
    write(group.parents[1], cpu_max="max 100000")
    assert available_cores() == 3


@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize("own", ["/slurm/job_7", "/"])  # a container sees its own group as /
def test_the_quota_and_the_memory_of_version_1(groups, folder, own):
    (groups / "self").write_text(f"9:memory:{own}\n4:cpu,cpuacct:{own}\n3:cpuset:/\n0::/\n")
    root = groups / "groups"
    write(root / folder, cpu_cfs_quota_us=-1, cpu_cfs_period_us=100000)
    write(root / folder / own[1:], cpu_cfs_quota_us=250000, cpu_cfs_period_us=100000)
    stat = "inactive_file 1\ntotal_inactive_file 500000"
    numbers = {"memory_limit_in_bytes": 3_000_000, "memory_usage_in_bytes": 2_000_000}
    write(root / "memory" / own[1:], memory_stat=stat, **numbers)
    assert available_cores() == 3
    assert free_bytes() == 1_500_000


def test_without_groups_nothing_is_limited(groups):
    assert available_cores() == 16
    (groups / "self").write_text("0::/../elsewhere\n")  # of a container's name space
    assert available_cores() == 16
    assert free_bytes() > 10**8


def test_fewer_cores_of_the_process_count_too(group, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2))
    write(group, cpu_max="400000 100000")
    assert available_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 8)
    assert available_cores() == 4
