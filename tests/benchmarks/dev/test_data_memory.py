import pytest

from benchmarks.dev.data_memory import measure_data_memory
from tests.toys import small_recipe, write_annotated_heads
from wmh_runtime.errors import InputError


def test_what_reading_takes_is_measured_beside_what_holding_all_would_take(tmp_path):
    # Two of three heads with 6 slices of 64 × 64 pixels, each of 2 bytes of image and 1 of target:
    # 12 · 4096 · 3 bytes are 0.147 MB.
    data = write_annotated_heads(tmp_path, 3)
    measured = measure_data_memory(data, small_recipe(), scans=2)
    (opened,) = measured.opened
    assert (opened.scans, opened.slices, opened.held_in_memory_mb) == (2, 12, 0.1)
    assert opened.largest_resident_mb >= measured.resident_before_mb > 0


def test_memory_does_not_grow_with_the_scans(tmp_path):
    # 6 slices of 512 × 512 pixels and 3 bytes are 4.72 MB a head, so ten more take 47 MB on disk.
    preprocessing = {"pixel_size_mm": 0.5, "size_px": 512, "clip_percentiles": [0, 100]}
    data = write_annotated_heads(tmp_path, 20)
    measured = measure_data_memory(data, small_recipe(preprocessing=preprocessing), scans=20)
    ten, twenty = measured.opened
    between_mb = twenty.held_in_memory_mb - ten.held_in_memory_mb
    assert between_mb == pytest.approx(47.2, abs=0.1)
    assert twenty.largest_resident_mb - ten.largest_resident_mb < between_mb / 2


def test_more_scans_than_there_are_cannot_be_opened(tmp_path):
    with pytest.raises(InputError, match="holds 1 annotated scans"):
        measure_data_memory(write_annotated_heads(tmp_path, 1), small_recipe(), scans=2)
