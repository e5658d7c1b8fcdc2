"""Compare one scan, file to files, with the reference method.

The reference method is eager PyTorch in float32, the eight views of every slice one after another.
It is timed on some views, before and after the other runs, and extrapolated to the whole scan; its
reading and writing are not counted.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.backends.onnx_graph import CpuBackend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.job import Job, Progress
from wmh_runtime.cohort.local_engine import LocalEngine
from wmh_runtime.cohort.run import run
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import Discovery
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.outputs.paths import output_paths
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.precision import Precision
from wmh_runtime.preprocessing.preprocess import preprocess
from wmh_runtime.schema import StrictModel
from wmh_runtime.tta import VIEWS, Tta, first_views
from wmh_runtime.types import Floats, Mask
from wmh_train.checkpoint import load_metadata, load_network
from wmh_train.torch_backend import TorchBackend


class RunSpeed(StrictModel):
    """A run as in `wmh-infer`: load the network, read the scan, write all files."""

    tta: Tta
    precision: Precision
    backend: str
    load_seconds: float
    seconds: float  # from reading the scan to the last file, without loading the network
    slices_executed: int
    slices_in_all_views: int
    speedup: float  # compared with the reference method on all slices of the scan
    speedup_of_executed_slices: float  # compared with it on the executed slices only
    mask_dice: float  # with the mask of the full run in float32


class SpeedUp(StrictModel):
    """The measurement."""

    machine: Machine
    bundle: str
    model_id: str
    scan: str
    shape: tuple[int, int, int]
    slices: int
    volume_ml: float  # of the full run in float32
    reference_views: int  # number of timed views
    reference_seconds_per_view: float  # mean
    reference_seconds: float  # extrapolated to all views of all slices
    runs: list[RunSpeed]
    share_in_all_views: float  # f: of the executed slices, with adaptive test-time augmentation
    adaptive_speedup: float  # compared with full, in the same precision
    adaptive_efficiency: float  # adaptive_speedup / (8 / (1 + 7 f)), its upper limit


def measure_speed_up(
    bundle: Bundle,
    checkpoint: Path,
    pretrained: Path | None,
    scan: Path,
    backend: type[CpuBackend],
    precision: Precision,
    reference_views: int,
    on_step: Callable[[str], None],
) -> SpeedUp:
    """Segment one scan: full and adaptive in a precision, and full in float32.

    Args:
        bundle: exported from the checkpoint.
        checkpoint: of the network, for PyTorch.
        pretrained: pretrained weights of its encoder.
        scan: FLAIR.
        backend: to execute with.
        precision: to execute in. Its masks are compared with those in float32.
        reference_views: how many views of the reference method to time; half of them before the
            runs, half after.
        on_step: called with the name of each step before it starts.

    Raises:
        BackendError: the execution failed.
        InputError: the scan cannot be used.
    """
    manifest = bundle.manifest
    metadata = load_metadata(checkpoint)
    image = read_scan(scan)
    views = _endless_views(preprocess([image], manifest.preprocessing).slices)
    settings: tuple[tuple[Tta, Precision], ...] = (
        ("full", precision),
        ("adaptive", precision),
        ("full", "fp32"),
    )
    view_seconds: list[float] = []
    results: dict[tuple[Tta, Precision], _Result] = {}
    network = load_network(checkpoint, metadata, pretrained)
    with TorchBackend(network, metadata.recipe, views=1) as reference:
        reference.predict(next(views))  # warm-up
        on_step("PyTorch, view by view")
        view_seconds += _time_views(reference, views, reference_views // 2)
        for tta, in_precision in settings:
            on_step(f"wmh-infer, {tta}, {in_precision}")
            results[tta, in_precision] = _segment(bundle, scan, backend, tta, in_precision)
        on_step("PyTorch, view by view")
        view_seconds += _time_views(reference, views, reference_views // 2)
    seconds_per_slice = float(np.mean(view_seconds)) * len(VIEWS)
    full, adaptive, full_fp32 = (results[setting] for setting in settings)
    in_all_views = adaptive.sidecar.slices_in_all_views / adaptive.sidecar.slices_executed
    adaptive_speedup = full.seconds / adaptive.seconds
    return SpeedUp(
        machine=describe_machine(),
        bundle=manifest.name,
        model_id=manifest.model_id,
        scan=scan.name,
        shape=image.voxels.shape,
        slices=full_fp32.sidecar.slices,
        volume_ml=full_fp32.sidecar.volume_ml,
        reference_views=len(view_seconds),
        reference_seconds_per_view=round(seconds_per_slice / len(VIEWS), 4),
        reference_seconds=round(seconds_per_slice * full_fp32.sidecar.slices, 1),
        runs=[
            RunSpeed(
                tta=tta,
                precision=in_precision,
                backend=result.backend,
                load_seconds=round(result.load_seconds, 2),
                seconds=round(result.seconds, 2),
                slices_executed=result.sidecar.slices_executed,
                slices_in_all_views=result.sidecar.slices_in_all_views,
                speedup=round(seconds_per_slice * result.sidecar.slices / result.seconds, 3),
                speedup_of_executed_slices=round(
                    seconds_per_slice * result.sidecar.slices_executed / result.seconds, 3
                ),
                mask_dice=round(dice_of_masks(result.mask, full_fp32.mask), 5),
            )
            for (tta, in_precision), result in results.items()
        ],
        share_in_all_views=round(in_all_views, 4),
        adaptive_speedup=round(adaptive_speedup, 3),
        adaptive_efficiency=round(adaptive_speedup / (8 / (1 + 7 * in_all_views)), 3),
    )


def _endless_views(slices: Floats) -> Iterator[Floats]:
    """Yield the eight views of each slice, one after another, and start again at the end."""
    while True:
        for one in slices:
            for view in VIEWS:
                yield np.ascontiguousarray(view.apply(one))[None]


def _time_views(reference: TorchBackend, views: Iterator[Floats], count: int) -> list[float]:
    """Return the seconds of each view."""
    seconds = []
    for view in itertools.islice(views, count):
        started_s = time.perf_counter()
        reference.predict(view)
        seconds.append(time.perf_counter() - started_s)
    return seconds


@dataclass(frozen=True)
class _Result:
    """The result of one run."""

    backend: str
    load_seconds: float
    seconds: float
    sidecar: Sidecar
    mask: Mask


def _segment(
    bundle: Bundle, scan: Path, backend: type[CpuBackend], tta: Tta, precision: Precision
) -> _Result:
    """Segment the scan into a temporary folder."""
    case = Case(scan, Path(scan.name))
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        outputs = bundle.manifest.outputs_of(tta)
        job = Job(Discovery((case,)), out, bundle, outputs, tta=tta)
        before_load_s = time.perf_counter()
        with backend.from_bundle(bundle, views=first_views(tta), precision=precision) as opened:
            started_s = time.perf_counter()
            outcome = run(job, LocalEngine([opened]), Progress())
            ended_s = time.perf_counter()
        for _, error in outcome.failed:
            raise error
        paths = output_paths(out, case.relative, outputs[0].name)
        sidecar = Sidecar.model_validate_json(paths.sidecar.read_text(encoding="utf-8"))
        mask = read_scan(paths.mask, allow_constant=True).voxels > 0
    return _Result(
        opened.description, started_s - before_load_s, ended_s - started_s, sidecar, mask
    )
