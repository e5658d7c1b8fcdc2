"""Segment the same scans in every way, undisturbed and disturbed, and compare the bytes."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from benchmarks.dev.clusters.engines import WORKERS, Engine, open_engines
from benchmarks.dev.clusters.same_results import content_of
from benchmarks.dev.clusters.sleeping_device import sleeping_device
from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.machine import available_cores
from wmh_runtime.phantom.cohort import plan_cohort, write_cohort
from wmh_runtime.schema import StrictModel

_KILLS = 3
_FIRST_KILL_S = 3.0  # a run has begun by then


class EngineTimes(StrictModel):
    """How long a way took."""

    engine: str
    workers: int
    seconds: float
    efficiency: float  # share of the ideal speed-up over one process
    seconds_with_kills: float
    kills: list[str]
    same_bytes: bool  # as one process, undisturbed; both times


class EngineComparison(StrictModel):
    """The measurement."""

    machine: Machine
    scans: int
    seconds_per_batch: float  # that the device sleeps
    engines: list[EngineTimes]


def compare_engines(
    scans: int, seconds_per_batch: float, on_step: Callable[[str], None]
) -> EngineComparison:
    """Measure all ways with a device that only sleeps.

    Args:
        scans: synthetic heads with large voxels.
        seconds_per_batch: time of the device.
        on_step: called with what is done next.
    """
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        on_step("generating heads")
        write_coarse_heads(work / "scans", scans)
        with sleeping_device(work / "module", seconds_per_batch), open_engines(work) as engines:
            one = _measure(engines[0], work, None, on_step)
            measured = [one, *(_measure(engine, work, one, on_step) for engine in engines[1:])]
    return EngineComparison(
        machine=describe_machine(),
        scans=scans,
        seconds_per_batch=seconds_per_batch,
        engines=measured,
    )


def write_coarse_heads(folder: Path, count: int) -> None:
    """Write synthetic heads with voxels of eight times the volume, which take less time."""
    plans = plan_cohort(count, seed=5, loads_ml=(0.5, 40))
    with coarse_phantoms():  # the processes of a pool are forks of this one
        write_cohort(plans, folder, workers=available_cores(), on_written=lambda: None)


def _measure(
    engine: Engine, work: Path, one: EngineTimes | None, on_step: Callable[[str], None]
) -> EngineTimes:
    workers = 1 if one is None else WORKERS
    whole, disturbed = work / "alone", work / "disturbed"
    out = whole if one is None else work / "out"
    on_step(engine.name)
    seconds = _run(engine, work, out)
    is_same = content_of(out) == content_of(whole)
    on_step(f"{engine.name}, disturbed")
    kills: list[str] = []
    seconds_with_kills = _run(engine, work, disturbed, kills)
    is_same = is_same and content_of(disturbed) == content_of(whole)
    for folder in (disturbed, work / "out"):
        shutil.rmtree(folder, ignore_errors=True)
    return EngineTimes(
        engine=engine.name,
        workers=workers,
        seconds=round(seconds, 1),
        efficiency=round((one.seconds if one else seconds) / seconds / workers, 3),
        seconds_with_kills=round(seconds_with_kills, 1),
        kills=kills,
        same_bytes=is_same,
    )


def _run(engine: Engine, work: Path, out: Path, kills: list[str] | None = None) -> float:
    arguments = [str(work / "scans"), str(out), "--bundle", "demo", "--backend", "onnxruntime"]
    moments, started = random.Random(len(engine.name)), time.perf_counter()
    engine.begin([*arguments, "--threads", "1"])
    if kills is not None:
        time.sleep(_FIRST_KILL_S)
        for _ in range(_KILLS):
            time.sleep(moments.uniform(0.5, 3.0))
            kills.append(engine.disturb(moments))
    engine.finish()
    return time.perf_counter() - started
