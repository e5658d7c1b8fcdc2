"""What is free, and what a scan will take."""

import numpy as np
import pytest

from wmh_runtime import machine
from wmh_runtime.cohort.scan_memory import estimate_scan_bytes, format_gb
from wmh_runtime.machine import free_bytes
from wmh_runtime.types import NetworkShape


@pytest.fixture
def group(tmp_path, monkeypatch):
    """The control group of a cluster's job, within that of a container."""
    (tmp_path / "self").write_text("0::/job/step\n")
    group = tmp_path / "groups" / "job" / "step"
    group.mkdir(parents=True)
    monkeypatch.setattr(machine, "_OWN_GROUP", tmp_path / "self")
    monkeypatch.setattr(machine, "_CONTROL_GROUPS", tmp_path / "groups")
    return group


def limit(group, most, used, files):
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 500000\ninactive_file {files}\nshmem 0\n")


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
    ("count", "says"),
    [(9 * 10**9, "9"), (4_500_000_000, "4.5"), (12_400_000_000, "12"), (60_000_000, "0.06")],
)
def test_gigabytes(count, says):
    assert format_gb(count) == says


def test_the_slices_are_counted_along_the_axis_that_is_sliced():
    # 20 slices along x here: the affine says that x is superior.
    upright = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [5, 0, 0, 0], [0, 0, 0, 1]], float)
    network = NetworkShape(1, 1, 100)
    along_x = estimate_scan_bytes((20, 200, 300), upright, network)
    along_z = estimate_scan_bytes((200, 300, 20), np.diag([1.0, 1, 5, 1]), network)
    assert along_x == along_z
    more = estimate_scan_bytes((40, 200, 300), upright, network)
    assert more == 2 * along_x
    assert estimate_scan_bytes((20, 200, 300), upright, NetworkShape(2, 1, 100)) > along_x
