"""How much memory reading training data takes: it must not grow with the number of scans."""

from __future__ import annotations

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from wmh_runtime.errors import InputError
from wmh_runtime.preprocessing.preprocess import Preprocessing
from wmh_runtime.schema import StrictModel
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.cache import fill_cache, open_cache
from wmh_train.data.layouts import find_data
from wmh_train.recipe.recipe import Recipe

_SCANS_OPENED = (10, 40, 170)  # 170: as many as the WMH challenge has in all
_SEED = 0


class OpenScans(StrictModel):
    """What a process holds while it reads the slices of some scans in random batches."""

    scans: int
    slices: int
    largest_resident_mb: float  # 10⁶ bytes, the largest after any batch
    held_in_memory_mb: float  # computed: all slices at once, as they lie in the cache


class DataMemory(StrictModel):
    """The measurement."""

    data: str
    recipe: str
    batch_size: int
    resident_before_mb: float  # of the process before it opens anything
    opened: list[OpenScans]


def measure_data_memory(data: Path, recipe: Recipe, scans: int) -> DataMemory:
    """Read random batches through all slices of ever more scans, in a process of its own.

    Args:
        data: annotated scans, of which the first by name are taken.
        recipe: for channels, outputs, preprocessing and the size of batches.
        scans: how many to open in the end; before that 10, 40 and 170 where these are fewer.

    Raises:
        InputError: there are not as many scans, or one cannot be read.
        RecipeError: the data do not fit the recipe.
    """
    found = find_data(data, recipe.channels, recipe.outputs)
    chosen = found.scans[:scans]
    if len(chosen) < scans:
        raise InputError(f"holds {len(chosen)} annotated scans", f"Give {scans}.", about=data)
    counts = sorted({count for count in _SCANS_OPENED if count < scans} | {scans})
    batch_size = recipe.schedule.batch_size
    fresh = multiprocessing.get_context("spawn")  # no memory of this process comes along
    with tempfile.TemporaryDirectory() as temporary:
        cache = Path(temporary)
        fill_cache(chosen, recipe.preprocessing, cache, lambda: None)
        with ProcessPoolExecutor(1, mp_context=fresh) as pool:
            before_mb = pool.submit(_resident_mb).result()
            opened = [
                pool.submit(
                    _read_all, chosen[:count], recipe.preprocessing, cache, batch_size
                ).result()
                for count in counts
            ]
    return DataMemory(
        data=found.name,
        recipe=recipe.name,
        batch_size=batch_size,
        resident_before_mb=before_mb,
        opened=opened,
    )


def _read_all(
    scans: tuple[AnnotatedScan, ...], preprocessing: Preprocessing, cache: Path, batch_size: int
) -> OpenScans:
    """Read every slice once, in random batches."""
    slices = open_cache(scans, preprocessing, cache)
    order = np.random.default_rng(_SEED).permutation(len(slices.with_lesion))
    largest_mb = 0.0
    for start in range(0, len(order), batch_size):
        slices.read(order[start : start + batch_size])
        largest_mb = max(largest_mb, _resident_mb())
    pixels = len(order) * preprocessing.size_px**2
    bytes_a_pixel = 2 * len(scans[0].channels) + len(scans[0].references)  # float16, uint8
    return OpenScans(
        scans=len(scans),
        slices=len(order),
        largest_resident_mb=round(largest_mb, 1),
        held_in_memory_mb=round(pixels * bytes_a_pixel / 1e6, 1),
    )


def _resident_mb() -> float:
    return round(float(psutil.Process().memory_info().rss) / 1e6, 1)
