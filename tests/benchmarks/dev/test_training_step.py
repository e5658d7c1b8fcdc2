import pytest

from benchmarks.dev.training_step import measure_training_speed
from tests.toys import small_recipe, write_annotated_heads
from wmh_runtime.errors import InputError


def test_both_loops_are_timed_and_leave_nothing_behind(tmp_path, monkeypatch):
    heads = write_annotated_heads(tmp_path / "heads", 4)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    speed = measure_training_speed(small_recipe(), heads, tmp_path / "cache", steps=2)
    assert [loop.loop for loop in speed.loops] == ["ours", "plain"]
    for loop in speed.loops:
        step_s = 4 / loop.slices_per_second
        rounded = 0.0005  # steps are given in milliseconds
        assert loop.fastest_step_s - rounded <= step_s <= loop.slowest_step_s + rounded
        assert loop.peak_memory_mb > 100  # PyTorch alone is more
    assert speed.ratio == speed.loops[0].slices_per_second / speed.loops[1].slices_per_second
    assert not list((tmp_path / "empty").iterdir())


def test_more_steps_than_an_epoch_has_are_refused(tmp_path):
    # 2 heads: 4 slices with lesion, half of the 8 without: 2 batches of 4.
    heads = write_annotated_heads(tmp_path / "heads", 2)
    with pytest.raises(InputError, match=r"make 2 steps an epoch, 6 are needed"):
        measure_training_speed(small_recipe(), heads, tmp_path / "cache", steps=4)
