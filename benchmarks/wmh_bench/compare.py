"""Compare results of one or several machines: speed, share of the possible speed, accuracy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from wmh_bench.accuracy import Accuracy, mean_dice
from wmh_bench.baseline.result import Baseline
from wmh_bench.environment import Model
from wmh_bench.latency.result import Latency
from wmh_bench.machine import Machine
from wmh_bench.throughput import Throughput
from wmh_runtime.precision import Precision
from wmh_runtime.text import count_noun
from wmh_runtime.tta import VIEWS

Measurement = Latency | Throughput | Accuracy | Baseline
_CPU = "cpu"
# Words that manufacturers add to the model name of a device.
_SUPERFLUOUS = re.compile(r"\(R\)|\(TM\)|NVIDIA |GeForce |\d+-Core Processor|CPU @.*|Processor")


@dataclass(frozen=True)
class SliceSpeed:
    """How fast one backend, or one PyTorch variant, executes slices in eight views on a device."""

    model: str
    device: str
    variant: str  # name of the backend or of the PyTorch variant
    precision: Precision
    slices_per_s: float
    speedup: float | None  # compared with the reference method
    share_of_matmul_ceiling: float | None
    share_of_peak: float | None
    mask_dice: float  # with the trained network
    mean_dice: float | None  # with reference masks
    data: str  # of mean_dice
    refused: bool  # wmh-infer refuses this backend in this precision

    @property
    def name(self) -> str:
        """Variant and precision."""
        return f"{self.variant}, {self.precision}"


@dataclass(frozen=True)
class FolderSpeed:
    """How fast a folder of scans is segmented, files to files."""

    model: str
    device: str
    backend: str
    precision: Precision
    tta: str
    scans: int
    scans_per_hour: float
    views_per_s: float
    share_of_backend_only: float
    peak_memory_mb: int


@dataclass(frozen=True)
class Comparison:
    """All results together."""

    slice_speeds: tuple[SliceSpeed, ...]  # by model, the slowest first
    folder_speeds: tuple[FolderSpeed, ...]

    @property
    def by_model(self) -> list[tuple[str, list[SliceSpeed]]]:
        """The slice speeds of each model."""
        return [
            (model, list(speeds))
            for model, speeds in groupby(self.slice_speeds, lambda speed: speed.model)
        ]


def compare(results: Iterable[Measurement], folders: Sequence[str] = ()) -> Comparison:
    """Compare results. If something was measured twice on a device, the later result counts.

    Args:
        results: of any kind.
        folders: name of the folder of each result. CPUs with the same name in different folders
            count as different devices, and the folder is added to the name. Empty: CPUs with the
            same name are one device.
    """
    results = _with_distinct_cpus(list(results), folders)
    # Of several data sets, the largest counts.
    accuracies = sorted(
        (result for result in results if isinstance(result, Accuracy)),
        key=lambda result: -result.scans,
    )
    slice_speeds: dict[tuple[str, str, str], SliceSpeed] = {}
    folder_speeds = []
    for result in sorted(results, key=lambda result: result.environment.started_at):
        if isinstance(result, Latency):
            new = _speeds_of_latency(result, accuracies)
        elif isinstance(result, Baseline):
            new = _speeds_of_baseline(result)
        else:
            new = []
        for speed in new:
            key = (speed.model, speed.device, speed.name)
            slice_speeds[key] = _merge(slice_speeds.get(key), speed)
        if isinstance(result, Throughput):
            folder_speeds.append(_folder_speed(result))
    in_order = sorted(slice_speeds.values(), key=lambda speed: (speed.model, speed.slices_per_s))
    return Comparison(tuple(in_order), tuple(folder_speeds))


def _with_distinct_cpus(results: list[Measurement], folders: Sequence[str]) -> list[Measurement]:
    """Add the folder to the names of CPUs that occur in several folders. GPUs keep their names."""
    folders_of_cpu: dict[str, set[str]] = {}
    for result, folder in zip(results, folders, strict=False):
        folders_of_cpu.setdefault(result.environment.machine.cpu, set()).add(folder)
    renamed: list[Measurement] = []
    for i, result in enumerate(results):
        environment, machine = result.environment, result.environment.machine
        if len(folders_of_cpu.get(machine.cpu, ())) > 1:
            cpu = f"{machine.cpu} in {folders[i]}"
            machine = machine.model_copy(update={"cpu": cpu})
            environment = environment.model_copy(update={"machine": machine})
            update: dict[str, object] = {"environment": environment}
            if isinstance(result, Baseline) and result.device == result.environment.machine.cpu:
                update["device"] = cpu
            renamed.append(result.model_copy(update=update))
        else:
            renamed.append(result)
    return renamed


def _merge(earlier: SliceSpeed | None, later: SliceSpeed) -> SliceSpeed:
    """Take the later result, but speedup and mask Dice of a baseline.

    A baseline measures the backends and PyTorch on the same slices.
    """
    if earlier is None:
        return later
    baseline, other = (earlier, later) if later.speedup is None else (later, earlier)
    if baseline.speedup is None or other.speedup is not None:
        return later
    return replace(other, speedup=baseline.speedup, mask_dice=baseline.mask_dice)


def _speeds_of_latency(result: Latency, accuracies: Sequence[Accuracy]) -> list[SliceSpeed]:
    """Return each backend and precision in eight views, with its fastest batch size."""
    model, machine = result.environment.model, result.environment.machine
    fastest = {}
    for row in sorted(result.rows, key=lambda row: row.slices_per_s):
        if row.views == len(VIEWS):
            fastest[row.backend, row.precision] = row
    speeds = []
    for row in fastest.values():
        dice, data = _mean_dice(model, row.backend, row.precision, accuracies)
        speeds.append(
            SliceSpeed(
                model=_model_name(model),
                device=_device_name(row.device, machine),
                variant=row.backend,
                precision=row.precision,
                slices_per_s=row.slices_per_s,
                speedup=None,
                share_of_matmul_ceiling=row.share_of_matmul_ceiling,
                share_of_peak=row.share_of_peak,
                mask_dice=row.mask_dice,
                mean_dice=dice,
                data=data,
                refused=bool(row.refused),
            )
        )
    return speeds


def _speeds_of_baseline(result: Baseline) -> list[SliceSpeed]:
    """Return each variant of a baseline, with its fastest batch size."""
    environment = result.environment
    fastest = {}
    for row in sorted(result.rows, key=lambda row: row.views_per_s):
        fastest[row.name, row.precision] = row
    return [
        SliceSpeed(
            model=_model_name(environment.model),
            device=_device_name(result.device, environment.machine),
            variant=row.name,
            precision=row.precision,
            slices_per_s=row.views_per_s / len(VIEWS),
            speedup=row.speedup,
            share_of_matmul_ceiling=row.share_of_matmul_ceiling,
            share_of_peak=row.share_of_peak,
            mask_dice=row.mask_dice,
            mean_dice=None,
            data="",
            refused=False,
        )
        for row in fastest.values()
    ]


def _folder_speed(result: Throughput) -> FolderSpeed:
    environment = result.environment
    return FolderSpeed(
        model=_model_name(environment.model),
        device=_device_name(result.device, environment.machine),
        backend=result.backend_description.partition(" on ")[0],
        precision=result.precision,
        tta=result.tta,
        scans=result.scans,
        scans_per_hour=result.scans_per_hour,
        views_per_s=result.views_per_s,
        share_of_backend_only=result.share_of_backend_only,
        peak_memory_mb=result.peak_memory_mb,
    )


def _mean_dice(
    model: Model, backend: str, precision: Precision, accuracies: Iterable[Accuracy]
) -> tuple[float | None, str]:
    """Return the mean Dice with full test-time augmentation, and its data set."""
    for accuracy in accuracies:
        if accuracy.environment.model.model_id == model.model_id:
            for row in accuracy.rows:
                if (row.backend, row.precision, row.tta) == (backend, precision, "full"):
                    return mean_dice(row), accuracy.data
    return None, ""


def _model_name(model: Model) -> str:
    identity = f" {model.model_id[:8]}" if model.model_id else ""
    return (
        f"{model.name}{identity}, {model.size_px} pixels, {model.gflop_per_view:.3g} GFLOP a view"
    )


def _device_name(device: str, machine: Machine) -> str:
    is_cpu = device in (_CPU, machine.cpu)
    name = " ".join(_SUPERFLUOUS.sub("", machine.cpu if is_cpu else device).split())
    return f"{name}, {count_noun(machine.cores, 'core')}" if is_cpu else name
