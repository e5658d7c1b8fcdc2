"""One scan, file to files: how many times faster than the reference method's own way.

That way is PyTorch in eager float32: the eight views of every slice, one after another. It is
timed on some of them, before and after the rest, and extrapolated; what it reads and writes is not
counted.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmh_bench.machine import Machine, this_machine
from wmh_runtime.backends.onnx_graph import CpuBackend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.runner import Job, Progress, run
from wmh_runtime.dataset.case import Case
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.outputs.writer import output_paths
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.precision import Precision
from wmh_runtime.preprocessing.preprocess import preprocess
from wmh_runtime.schema import StrictModel
from wmh_runtime.tta import VIEWS, Tta, first_views
from wmh_runtime.types import Floats, Mask
from wmh_train.checkpoint import load_facts, load_network
from wmh_train.torch_backend import TorchBackend


class Run(StrictModel):
    """`wmh-infer` on the scan: the network opened, the scan read, all files written."""

    tta: Tta
    precision: Precision
    backend: str
    seconds_opening: float
    seconds: float  # from the scan's file to the last of the results
    slices_executed: int
    slices_in_all_views: int
    times_faster: float  # than the reference's way over every slice of the scan
    times_faster_of_slices: float  # than it over the executed slices: as if none were skipped
    mask_dice: float  # with the float32 full run


class SpeedUp(StrictModel):
    """The measurement."""

    machine: Machine
    bundle: str
    model_id: str
    scan: str
    grid: tuple[int, int, int]
    slices: int
    volume_ml: float  # that the float32 full run finds
    reference_views: int  # timed
    reference_seconds_a_view: float  # mean
    reference_seconds: float  # extrapolated to all views of all slices
    runs: list[Run]
    looked_again: float  # f, of adaptive: the share of executed slices it gave all views
    adaptive_times_faster: float  # than full, in the same precision
    adaptive_share: float  # of the 8 / (1 + 7 f) that looking again allows


def measure_speed_up(
    bundle: Bundle,
    checkpoint: Path,
    base: Path | None,
    scan: Path,
    backend: type[CpuBackend],
    precision: Precision,
    reference_views: int,
    on_step: Callable[[str], None],
) -> SpeedUp:
    """Segment one scan by all ways, one after another.

    Args:
        bundle: exported from the checkpoint.
        checkpoint: of the network, for PyTorch.
        base: weights that its encoder stands on.
        scan: FLAIR.
        backend: to execute with.
        precision: to execute in, besides float32, which the masks are compared with.
        reference_views: views to time the reference method's way on, half of them before.
        on_step: is told each step.

    Raises:
        BackendError: the execution failed.
        InputError: the scan cannot be used.
    """
    manifest = bundle.manifest
    facts = load_facts(checkpoint)
    image = read_scan(scan)
    slices = preprocess([image], manifest.preprocessing).slices
    looks = _looks(slices)
    ways: tuple[tuple[Tta, Precision], ...] = (
        ("full", precision),
        ("adaptive", precision),
        ("full", "fp32"),
    )
    seconds: list[float] = []  # of single views, the reference method's way
    done: dict[tuple[Tta, Precision], _Done] = {}
    with TorchBackend(load_network(checkpoint, facts, base), facts.recipe, views=1) as torch:
        torch.predict(next(looks))  # the first is always slow
        on_step("PyTorch, view by view")
        seconds += _seconds(torch, looks, reference_views // 2)
        for way in ways:
            on_step(f"wmh-infer, {', '.join(way)}")
            done[way] = _segment(bundle, scan, backend, *way)
        on_step("PyTorch, view by view")
        seconds += _seconds(torch, looks, reference_views // 2)
    seconds_a_slice = float(np.mean(seconds)) * len(VIEWS)
    full, adaptive, truth = (done[way] for way in ways)
    again = adaptive.record.slices_in_all_views / adaptive.record.slices_executed
    adaptive_times_faster = full.seconds / adaptive.seconds
    return SpeedUp(
        machine=this_machine(),
        bundle=manifest.name,
        model_id=manifest.model_id,
        scan=scan.name,
        grid=image.voxels.shape,
        slices=truth.record.slices,
        volume_ml=truth.record.volume_ml,
        reference_views=len(seconds),
        reference_seconds_a_view=round(seconds_a_slice / len(VIEWS), 4),
        reference_seconds=round(seconds_a_slice * truth.record.slices, 1),
        runs=[
            Run(
                tta=tta,
                precision=in_precision,
                backend=one.backend,
                seconds_opening=round(one.seconds_opening, 2),
                seconds=round(one.seconds, 2),
                slices_executed=one.record.slices_executed,
                slices_in_all_views=one.record.slices_in_all_views,
                times_faster=round(seconds_a_slice * one.record.slices / one.seconds, 3),
                times_faster_of_slices=round(
                    seconds_a_slice * one.record.slices_executed / one.seconds, 3
                ),
                mask_dice=round(dice_of_masks(one.mask, truth.mask), 5),
            )
            for (tta, in_precision), one in done.items()
        ],
        looked_again=round(again, 4),
        adaptive_times_faster=round(adaptive_times_faster, 3),
        adaptive_share=round(adaptive_times_faster / (8 / (1 + 7 * again)), 3),
    )


def _looks(slices: Floats) -> Iterator[Floats]:
    """Yield the eight views of each slice, one after another, again and again."""
    while True:
        for one in slices:
            for view in VIEWS:
                yield np.ascontiguousarray(view.apply(one))[None]


def _seconds(torch: TorchBackend, looks: Iterator[Floats], count: int) -> list[float]:
    """Time views, one by one."""
    taken = []
    for look in itertools.islice(looks, count):
        started = time.perf_counter()
        torch.predict(look)
        taken.append(time.perf_counter() - started)
    return taken


@dataclass(frozen=True)
class _Done:
    """The scan, segmented."""

    backend: str
    seconds_opening: float
    seconds: float
    record: Sidecar
    mask: Mask


def _segment(
    bundle: Bundle, scan: Path, backend: type[CpuBackend], tta: Tta, precision: Precision
) -> _Done:
    """Segment the scan into a folder that is thrown away."""
    found = Case(scan, Path(scan.name))
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        outputs = bundle.manifest.outputs_of(tta)
        job = Job([found], out, bundle, outputs, tta=tta)
        opening = time.perf_counter()
        with backend.of_bundle(bundle, views=first_views(tta), precision=precision) as opened:
            started = time.perf_counter()
            outcome = run(job, [opened], Progress())
            ended = time.perf_counter()
        for _, error in outcome.failed:
            raise error
        to = output_paths(out, found.relative, outputs[0].name)
        record = Sidecar.model_validate_json(to.record.read_text(encoding="utf-8"))
        mask = read_scan(to.mask).voxels > 0
    return _Done(opened.description, started - opening, ended - started, record, mask)
