"""Synthetic heads that are new in each epoch, made while the epoch before is trained.

    .new-heads/
    └── 3f0c…/            of one training, named by its identity
        └── epoch-3/      a data set of synthetic heads, removed after its epoch
            └── cache/    their preprocessed slices

The heads of an epoch depend on the sources, the recipe and the number of the epoch only. So a
training that was stopped goes on with the same heads.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from wmh_runtime.errors import InputError, InterruptionError
from wmh_runtime.machine import available_cores
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.cache import CachedSlices, fill_cache, open_cache
from wmh_train.data.layouts import find_dataset
from wmh_train.recipe.recipe import Recipe
from wmh_train.recipe.synthesis import HIGHEST_SEED
from wmh_train.synthesis.cohort import HeadMaker, Sources

_FOLDER = ".new-heads"
_SEEDS_PER_TRAINING = 1_000_000  # more than a training has epochs
_MOST_WORKERS = 8  # each needs 1 to 2 GB
_LOOK_EVERY_S = 0.5


class NewHeads:
    """Makes `data.new_heads` synthetic heads for each epoch. Use it in a `with` statement.

    Half of the cores make heads.

    Args:
        sources: label maps and masks of real lesions.
        recipe: with the ranges, the number of heads and the seed.
        out: folder of the training. The heads of this training that are there are used.
        identity: of the training. The heads of other trainings are removed.

    Raises:
        InputError: a source cannot be used.
    """

    def __init__(self, sources: Sources, recipe: Recipe, out: Path, identity: str) -> None:
        self._recipe = recipe
        self._folder = out / _FOLDER / identity[:16]
        for other in (out / _FOLDER).glob("*"):
            if other != self._folder:
                shutil.rmtree(other, ignore_errors=True)
        workers = min(_MOST_WORKERS, max(1, available_cores() // 2))
        self._maker = HeadMaker(sources, recipe.synthesis, workers)
        self._thread = ThreadPoolExecutor(1, "heads")
        self._is_closed = threading.Event()
        self._made: dict[int, Future[list[AnnotatedScan]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes when each has finished its head. All heads stay for the next run."""
        self._is_closed.set()
        self._maker.close()
        self._thread.shutdown(cancel_futures=True)

    def slices(self, epoch: int, should_stop: Callable[[], bool] = lambda: False) -> CachedSlices:
        """Return the slices of the heads of an epoch, and begin to make those of the next one.

        The heads of earlier epochs are removed. Wait until the heads of this one are made.

        Args:
            epoch: from 0.
            should_stop: asked twice per second while heads are made.

        Raises:
            InputError: a file cannot be written, or a process was ended from outside.
            InterruptionError: `should_stop` returned true.
        """
        for wanted in (epoch, epoch + 1):
            if wanted < self._recipe.schedule.epochs and wanted not in self._made:
                self._made[wanted] = self._thread.submit(self._make, wanted)
        scans = _wait(self._made[epoch], should_stop)
        for earlier in range(epoch):
            shutil.rmtree(self._folder_of(earlier), ignore_errors=True)
        return open_cache(scans, self._recipe.preprocessing, self._cache_of(epoch))

    def slices_after(
        self, training: CachedSlices, epoch: int, should_stop: Callable[[], bool]
    ) -> CachedSlices:
        """Return the slices of other scans and, after them, those of the heads of an epoch.

        Args:
            training: of the other scans.
            epoch: as for `slices`.
            should_stop: as for `slices`.
        """
        return training.joined_with(self.slices(epoch, should_stop))

    def _make(self, epoch: int) -> list[AnnotatedScan]:
        recipe, folder = self._recipe, self._folder_of(epoch)
        seed = HIGHEST_SEED + 1 + _SEEDS_PER_TRAINING * recipe.schedule.seed + epoch
        count = recipe.data.new_heads
        self._maker.write(folder, heads=count, seed=seed, on_written=self._check_closed)
        found = find_dataset(folder, recipe.channels, recipe.outputs, recipe.regions)
        fill_cache(found.scans, recipe.preprocessing, self._cache_of(epoch), self._check_closed)
        return list(found.scans)

    def _check_closed(self) -> None:
        if self._is_closed.is_set():
            raise CancelledError

    def _folder_of(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch}"

    def _cache_of(self, epoch: int) -> Path:
        return self._folder_of(epoch) / "cache"


def remove_new_heads(out: Path) -> None:
    """Remove what `NewHeads` left in the folder of a finished training."""
    shutil.rmtree(out / _FOLDER, ignore_errors=True)


def _wait(
    made: Future[list[AnnotatedScan]], should_stop: Callable[[], bool]
) -> list[AnnotatedScan]:
    while True:
        try:
            return made.result(_LOOK_EVERY_S)
        except TimeoutError:
            if should_stop():
                raise _stopped() from None
        except InputError:
            if should_stop():  # the signal has ended the processes, too
                raise _stopped() from None
            raise


def _stopped() -> InterruptionError:
    return InterruptionError("stopped while new heads were made", "Run the same command to resume.")
