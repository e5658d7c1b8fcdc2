"""Reading training slices takes the same memory for any number of scans."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import psutil
import pytest

from tests.toys import write_annotated_heads
from tests.training_toys import small_recipe
from wmh_train.data.cache import fill_cache, open_cache
from wmh_train.data.layouts import find_dataset


def peak_resident_mb(scans, preprocessing, cache):
    """Read every slice once in random batches, and return the peak resident memory, 10⁶ bytes."""
    slices = open_cache(scans, preprocessing, cache)
    order = np.random.default_rng(0).permutation(len(slices.with_target))
    peak_mb = 0.0
    for start in range(0, len(order), 8):
        slices.read(order[start : start + 8])
        peak_mb = max(peak_mb, psutil.Process().memory_info().rss / 1e6)
    return peak_mb


@pytest.mark.exhaustive
def test_memory_does_not_grow_with_the_number_of_scans(tmp_path):
    # 6 slices of 512 × 512 pixels and 3 bytes are 4.72 MB per head: ten more take 47 MB on disk.
    recipe = small_recipe(
        preprocessing={"pixel_size_mm": 0.5, "size_px": 512, "clip_percentiles": [0, 100]}
    )
    data = write_annotated_heads(tmp_path / "data", 20)
    scans = find_dataset(data, recipe.channels, recipe.outputs).scans
    cache = tmp_path / "cache"
    fill_cache(scans, recipe.preprocessing, cache, lambda: None)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        ten_mb, twenty_mb = (
            pool.submit(peak_resident_mb, scans[:count], recipe.preprocessing, cache).result()
            for count in (10, 20)
        )
    assert twenty_mb - ten_mb < 47 / 2
