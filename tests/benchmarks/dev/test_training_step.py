from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.dev import training_step
from benchmarks.dev.training_step import measure_training_speed
from tests.toys import write_annotated_heads
from tests.training_toys import small_recipe
from wmh_runtime.errors import InputError


def test_both_loops_are_timed_and_leave_no_files(tmp_path, monkeypatch):
    heads = write_annotated_heads(tmp_path / "heads", 4)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    speed = measure_training_speed(small_recipe(), heads, tmp_path / "cache", steps=2)
    assert [loop.loop for loop in speed.loops] == ["wmh-train", "plain"]
    for loop in speed.loops:
        step_s = 4 / loop.slices_per_second
        rounding_s = 0.0005  # times of steps are rounded to milliseconds
        assert loop.fastest_step_s - rounding_s <= step_s <= loop.slowest_step_s + rounding_s
        assert loop.peak_memory_mb > 100  # PyTorch alone takes more
    assert speed.speedup == speed.loops[0].slices_per_second / speed.loops[1].slices_per_second
    assert not list((tmp_path / "empty").iterdir())


def test_more_steps_than_an_epoch_are_refused(tmp_path, monkeypatch):
    def in_this_process(workers, mp_context):
        return ThreadPoolExecutor(workers)

    monkeypatch.setattr(training_step, "ProcessPoolExecutor", in_this_process)
    # 2 heads: 4 slices with lesion, half of the 8 without: 2 batches of 4.
    heads = write_annotated_heads(tmp_path / "heads", 2)
    with pytest.raises(InputError, match=r"has 2 steps, 6 are needed"):
        measure_training_speed(small_recipe(), heads, tmp_path / "cache", steps=4)
