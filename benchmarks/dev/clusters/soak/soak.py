"""All kinds of trouble, one after the other; what is wrong afterwards is listed."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.dev.clusters.comparison import write_coarse_heads
from benchmarks.dev.clusters.engines import Processes, open_engines
from benchmarks.dev.clusters.sleeping_device import sleeping_device
from benchmarks.dev.clusters.soak.damaged_dicom import DamagedDicom, check_damaged_dicom
from benchmarks.dev.clusters.soak.kills import Kills, kill_at_random
from benchmarks.dev.clusters.soak.trouble import Trouble, kinds_of_trouble
from benchmarks.dev.odd_inputs import check_odd_inputs
from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.schema import StrictModel

_SCANS = 24
_SECONDS_PER_BATCH = 0.02
_SHARE_OF_DICOM = 0.2


class DamagedScans(StrictModel):
    """What became of damaged and odd NIfTI files."""

    files: int
    segmented: int
    refused: int  # in one line
    skipped: int  # because of their names
    peak_mib: int  # memory of this process, after all of them
    faults: list[str]


class Soak(StrictModel):
    """The measurement."""

    machine: Machine
    scans: int
    kills: list[Kills]
    trouble: list[Trouble]
    damaged_scans: DamagedScans
    damaged_dicom: DamagedDicom

    @property
    def faults(self) -> Iterator[str]:
        """What was wrong."""
        for kills in self.kills:
            yield from kills.faults
        for trouble in self.trouble:
            yield from trouble.faults
        yield from self.damaged_scans.faults
        yield from self.damaged_dicom.faults


def soak(kills: int, inputs: int, on_step: Callable[[str], None]) -> Soak:
    """Make all kinds of trouble.

    Args:
        kills: over all engines.
        inputs: damaged files, a part of them DICOM.
        on_step: called with what is done next, and with what was found.
    """
    dicom = round(inputs * _SHARE_OF_DICOM)
    on_step("damaged NIfTI files")
    scans = _damaged_scans(inputs - dicom)
    on_step("damaged DICOM files")
    series = check_damaged_dicom(dicom)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        on_step("generating heads")
        write_coarse_heads(work / "scans", _SCANS)
        with (
            sleeping_device(work / "module", _SECONDS_PER_BATCH),
            open_engines(work) as engines,
        ):
            options = ["--bundle", "demo", "--backend", "onnxruntime", "--threads", "1"]
            whole, out = work / "whole", work / "out"
            quiet = Processes(1)
            quiet.begin([str(work / "scans"), str(whole), *options])
            quiet.finish()
            arguments = [str(work / "scans"), str(out), *options]
            killed = [
                kill_at_random(
                    *(engine, arguments, whole, out, kills // len(engines)), on_round=on_step
                )
                for engine in engines
            ]
            trouble = []
            for make in kinds_of_trouble():
                on_step(make.__name__.replace("_", " "))
                trouble.append(make(arguments, whole, work))
    return Soak(
        machine=describe_machine(),
        scans=_SCANS,
        kills=killed,
        trouble=trouble,
        damaged_scans=scans,
        damaged_dicom=series,
    )


def _damaged_scans(count: int) -> DamagedScans:
    checked = check_odd_inputs(load_bundle("demo"), count, draw_pictures=False)
    return DamagedScans(
        files=checked.files,
        segmented=checked.segmented,
        refused=checked.refused,
        skipped=checked.skipped,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        faults=checked.faults,
    )
