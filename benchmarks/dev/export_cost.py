"""What an export takes: seconds by step, peak memory, and how large and how true the bundle is."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from wmh_bench.machine import Machine, this_machine
from wmh_bench.timing.peak_memory import peak_resident_bytes
from wmh_export.build import build
from wmh_runtime.bundle.manifest import Quantization
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.schema import StrictModel

_OF_THE_SEARCH = "int8: "
_NOT_OF_IT = "int8: comparing"


class Step(StrictModel):
    """One step of the export."""

    name: str
    seconds: float


class ExportCost(StrictModel):
    """The measurement."""

    machine: Machine
    name: str
    model_id: str
    size_px: int
    parameters: int
    seconds: float
    int8_search_seconds: float  # of these: looking at activations, and all trials
    peak_memory_mb: float  # 10⁶ bytes resident, of a process that did nothing else
    megabytes: dict[str, float]  # by file, without the card and the manifest
    steps: list[Step]
    parity: list[Parity]
    quantization: Quantization | None
    refused: list[str]


def measure_export(checkpoint: Path, out: Path, base: Path | None) -> ExportCost:
    """Export a checkpoint to a bundle, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(_measure, checkpoint, out, base).result()


def _measure(checkpoint: Path, out: Path, base: Path | None) -> ExportCost:
    begun: list[tuple[str, float]] = []

    def note(step: str) -> None:
        begun.append((step, time.monotonic()))

    started = time.monotonic()
    built = build(checkpoint, out, note, base=base)
    ended = time.monotonic()
    bundle, manifest = built.bundle, built.bundle.manifest
    ends = [at for _, at in begun[1:]] + [ended]
    steps = [
        Step(name=name, seconds=round(end - at, 1))
        for (name, at), end in zip(begun, ends, strict=True)
    ]
    return ExportCost(
        machine=this_machine(),
        name=manifest.name,
        model_id=manifest.model_id,
        size_px=manifest.preprocessing.size_px,
        parameters=manifest.training.parameters,
        seconds=round(ended - started, 1),
        int8_search_seconds=round(sum(s.seconds for s in steps if _is_of_the_search(s)), 1),
        peak_memory_mb=round(peak_resident_bytes() / 1e6, 1),
        megabytes={
            file.path: round(bundle.path_of(file).stat().st_size / 1e6, 1)
            for file in manifest.files
        },
        steps=steps,
        parity=[parity for graph in manifest.graphs for parity in graph.parity],
        quantization=manifest.quantization,
        refused=built.refused,
    )


def _is_of_the_search(step: Step) -> bool:
    return step.name.startswith(_OF_THE_SEARCH) and not step.name.startswith(_NOT_OF_IT)
