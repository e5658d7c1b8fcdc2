"""One scan from voxels to lesions: prepare, execute, restore, threshold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from wmh_runtime.backends.base import Backend
from wmh_runtime.errors import InputError
from wmh_runtime.lesions import Lesions, find_lesions
from wmh_runtime.manifest import Output
from wmh_runtime.prepare import Preparation, prepare
from wmh_runtime.scan import Scan
from wmh_runtime.types import Floats
from wmh_runtime.words import counted


@dataclass(frozen=True)
class OutputResult:
    """What was found of one output, on the scan's own grid."""

    output: Output  # with the threshold and the minimum size that were used
    probability: Floats  # (x, y, z), in [0, 1]
    lesions: Lesions


@dataclass(frozen=True)
class Segmentation:
    """What was found in one scan."""

    results: tuple[OutputResult, ...]
    slice_count: int
    slices_run: int
    warnings: tuple[str, ...]
    seconds: dict[str, float]  # by step


class Segmenter:
    """Segments scans, one after another, with one backend.

    Args:
        preparation: the bundle's.
        outputs: the bundle's, or with thresholds and minimum sizes of the user's.
        backend: open.
    """

    def __init__(
        self, preparation: Preparation, outputs: Sequence[Output], backend: Backend
    ) -> None:
        self.preparation = preparation
        self.outputs = tuple(outputs)
        self.backend = backend

    def segment(
        self, *channels: Scan, on_executed: Callable[[float], None] | None = None
    ) -> Segmentation:
        """Segment one scan.

        Args:
            channels: one scan for each of the bundle's channels, all on one grid.
            on_executed: called after each batch with the share of slices executed, 0 to 1.

        Raises:
            InputError: the channels are too few or too many, on different grids, or show no head.
            BackendError: the execution failed.
        """
        first, expected = channels[0], self.backend.shape.channels
        if len(channels) != expected:
            raise InputError(
                f"comes as {counted(len(channels), 'channel')}, this bundle's network takes"
                f" {expected}",
                "Use a bundle made for the channels at hand.",
                about=first.path,
            )
        seconds: dict[str, float] = {}
        with _timed(seconds, "prepare"):
            prepared = prepare(channels, self.preparation)
        with _timed(seconds, "execute"):
            squares = self.backend.predict(prepared.slices, on_executed)
        with _timed(seconds, "restore"):
            probabilities = [
                prepared.restoration.probability(squares[:, k]) for k in range(len(self.outputs))
            ]
        with _timed(seconds, "lesions"):
            results = tuple(
                OutputResult(output, probability, _cut(probability, output, first))
                for output, probability in zip(self.outputs, probabilities, strict=True)
            )
        return Segmentation(
            results=results,
            slice_count=prepared.slice_count,
            slices_run=len(prepared.slices),
            warnings=(*(w for channel in channels for w in channel.warnings), *prepared.warnings),
            seconds=seconds,
        )


def _cut(probability: Floats, output: Output, scan: Scan) -> Lesions:
    return find_lesions(
        probability,
        threshold=output.threshold,
        min_lesion_mm3=output.min_lesion_mm3,
        voxel_volume_mm3=scan.voxel_volume_mm3,
    )


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[step] = round(time.perf_counter() - started, 4)
