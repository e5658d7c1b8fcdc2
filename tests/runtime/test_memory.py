"""What is free, and what a scan will take."""

import numpy as np
import pytest

from wmh_runtime import memory
from wmh_runtime.memory import bytes_of_scan, free_bytes
from wmh_runtime.prepare import Preparation
from wmh_runtime.types import NetworkShape

PREPARATION = Preparation(pixel_size_mm=1.0, size_px=100)


def test_the_limit_of_a_container_counts_and_what_it_only_keeps_of_files_does_not(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    of_machine = free_bytes()
    assert of_machine > 10**8
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 1000000\nshmem 0\n")
    assert free_bytes() == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes() == pytest.approx(of_machine, rel=0.5)


def test_the_slices_are_counted_along_the_axis_that_is_sliced():
    # 20 slices along x here: the affine says that x is superior.
    upright = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [5, 0, 0, 0], [0, 0, 0, 1]], float)
    network = NetworkShape(1, 1, 100)
    along_x = bytes_of_scan((20, 200, 300), upright, PREPARATION, network)
    along_z = bytes_of_scan((200, 300, 20), np.diag([1.0, 1, 5, 1]), PREPARATION, network)
    assert along_x == along_z
    more = bytes_of_scan((40, 200, 300), upright, PREPARATION, network)
    assert more == 2 * along_x
    assert bytes_of_scan((20, 200, 300), upright, PREPARATION, NetworkShape(2, 1, 100)) > along_x
