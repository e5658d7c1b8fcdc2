"""One scan from voxels to lesions: begin (prepare), execute, end (restore, threshold)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from wmh_runtime.backends.base import Backend
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.postprocessing.lesions import Lesions, Output, find_lesions
from wmh_runtime.preprocessing.preprocess import PreprocessedScan, Preprocessing, preprocess
from wmh_runtime.text import count_noun
from wmh_runtime.types import Floats


@dataclass(frozen=True)
class Begun:
    """A scan that is ready to be executed."""

    channels: tuple[Scan, ...]
    prepared: PreprocessedScan
    seconds: dict[str, float]  # by step, so far


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
        preprocessing: the bundle's.
        outputs: the bundle's, or with thresholds and minimum sizes of the user's.
        backend: open.
    """

    def __init__(
        self, preprocessing: Preprocessing, outputs: Sequence[Output], backend: Backend
    ) -> None:
        self.preprocessing = preprocessing
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
        begun = begin(channels, self.preprocessing, self.backend.shape.channels)
        with timed(begun.seconds, "execute"):
            squares = self.backend.predict(begun.prepared.slices, on_executed)
        return end(begun, squares, self.outputs)


def begin(channels: Sequence[Scan], preprocessing: Preprocessing, expected: int) -> Begun:
    """Prepare one scan.

    Args:
        channels: one scan for each of the bundle's channels, all on one grid.
        preprocessing: the bundle's.
        expected: how many channels the network takes.

    Raises:
        InputError: the channels are too few or too many, on different grids, or show no head.
    """
    if len(channels) != expected:
        raise InputError(
            f"comes as {count_noun(len(channels), 'channel')},"
            f" this bundle's network takes {expected}",
            "Use a bundle made for the channels at hand.",
            about=channels[0].path,
        )
    seconds: dict[str, float] = {}
    with timed(seconds, "prepare"):
        prepared = preprocess(channels, preprocessing)
    return Begun(tuple(channels), prepared, seconds)


def end(begun: Begun, squares: Floats, outputs: Sequence[Output]) -> Segmentation:
    """Bring probabilities to the scan's own grid and find the lesions.

    Args:
        begun: the scan.
        squares: what the network gave, [slices run, K, S, S].
        outputs: the K outputs, with the thresholds and minimum sizes to use.
    """
    channels, prepared, seconds = begun.channels, begun.prepared, begun.seconds
    with timed(seconds, "restore"):
        probabilities = [
            prepared.restoration.probability(squares[:, k]) for k in range(len(outputs))
        ]
    with timed(seconds, "lesions"):
        results = tuple(
            OutputResult(output, probability, _cut(probability, output, channels[0]))
            for output, probability in zip(outputs, probabilities, strict=True)
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
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Note how many seconds the block takes."""
    started = time.perf_counter()
    yield
    seconds[step] = round(time.perf_counter() - started, 4)
