"""Synthetic heads that are new in each epoch, made while the epoch before is trained.

    heads/
    └── epoch-3/      a data set of synthetic heads, removed after its epoch
        └── cache/    their preprocessed slices

The heads of an epoch depend on the sources, the recipe and the number of the epoch only. So a
training that was stopped goes on with the same heads.
"""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.cache import CachedSlices, fill_cache, open_cache
from wmh_train.data.layouts import find_dataset
from wmh_train.recipe.recipe import Recipe
from wmh_train.synthesis.cohort import HeadMaker, Sources

_SEEDS_PER_TRAINING = 10_000  # more than a training has epochs


class FreshHeads:
    """Makes `data.new_heads` synthetic heads for each epoch. Use it in a `with` statement.

    Args:
        sources: label maps and masks of real lesions.
        recipe: with the ranges, the number of heads and the seed.
        folder: for the heads; what is in it is kept if it is of the same training.
        workers: processes that make heads.

    Raises:
        InputError: a source cannot be used.
    """

    def __init__(self, sources: Sources, recipe: Recipe, folder: Path, workers: int) -> None:
        self._recipe = recipe
        self._folder = folder
        self._maker = HeadMaker(sources, recipe.synthesis, workers)
        self._thread = ThreadPoolExecutor(1, "heads")
        self._made: dict[int, Future[list[AnnotatedScan]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes. What they have made stays for the next run."""
        self._maker.__exit__()
        self._thread.shutdown(cancel_futures=True)

    def slices(self, epoch: int) -> CachedSlices:
        """Return the slices of the heads of an epoch, and begin to make those of the next one.

        The heads of earlier epochs are removed. Wait until the heads of this one are made.

        Args:
            epoch: from 0.

        Raises:
            InputError: a file cannot be written, or a process was ended from outside.
        """
        for wanted in (epoch, epoch + 1):
            if wanted < self._recipe.schedule.epochs and wanted not in self._made:
                self._made[wanted] = self._thread.submit(self._make, wanted)
        scans = self._made[epoch].result()
        for folder in self._folder.glob("epoch-*"):
            if folder not in (self._folder_of(epoch), self._folder_of(epoch + 1)):
                shutil.rmtree(folder, ignore_errors=True)
        return open_cache(scans, self._recipe.preprocessing, self._cache_of(epoch))

    def remove(self) -> None:
        """Remove all heads. Call it after the `with` statement."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _make(self, epoch: int) -> list[AnnotatedScan]:
        recipe, folder = self._recipe, self._folder_of(epoch)
        seed = _SEEDS_PER_TRAINING * recipe.schedule.seed + epoch
        self._maker.write(folder, heads=recipe.data.new_heads, seed=seed, on_written=lambda: None)
        found = find_dataset(folder, recipe.channels, recipe.outputs, recipe.regions)
        fill_cache(found.scans, recipe.preprocessing, self._cache_of(epoch), lambda: None)
        return list(found.scans)

    def _folder_of(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch}"

    def _cache_of(self, epoch: int) -> Path:
        return self._folder_of(epoch) / "cache"
