"""Measure what grows with the number of scans: discovery, claims, tables, report, status.

The scans are tiny and differ from one another. A few are segmented with a backend that computes
next to nothing; the results of the others are copies of these under other names.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.claims.claims import Claims
from wmh_runtime.cohort.job import Job, Progress
from wmh_runtime.cohort.local_engine import LocalEngine
from wmh_runtime.cohort.plan import plan_job
from wmh_runtime.cohort.run import run
from wmh_runtime.cohort.sharing.collect import collect
from wmh_runtime.cohort.sharing.status import read_status
from wmh_runtime.dataset.bids import SIDECAR_SUFFIX
from wmh_runtime.outputs.failures import read_failures
from wmh_runtime.outputs.paths import CLAIMS_FOLDER
from wmh_runtime.schema import StrictModel

_TEMPLATES = 200  # scans that are segmented
_CLAIMS = 5000
_SHAPE = (24, 28, 12)
_SPACING_MM = (8.0, 8.0, 12.0)
_KIB_IN_MIB = 1024


class Step(StrictModel):
    """One measured step, in a process of its own."""

    seconds: float
    peak_mib: int  # memory of the process


class Scale(StrictModel):
    """The measurement for one number of scans."""

    machine: Machine
    scans: int
    seconds_per_scan: float  # of a run, without the work of a network
    discovery: Step
    claims_per_second: int
    status: Step
    tables: Step
    volumes_mib: float  # of the table
    report_mib: float
    resumed_per_second: int  # scans whose results are found and kept


def measure_scale(scans: int, on_step: Callable[[str], None]) -> Scale:
    """Measure a folder with this many scans.

    Args:
        scans: number of scans.
        on_step: called with what is done next.
    """
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        source, out = work / "scans", work / "out"
        on_step(f"writing {scans} scans")
        _write_scans(source, scans)
        on_step(f"segmenting {_TEMPLATES} of them")
        few, out_of_few = work / "few", work / "out-of-few"
        for folder in sorted(source.iterdir())[:_TEMPLATES]:
            shutil.copytree(folder, few / folder.name)
        started = time.perf_counter()
        _segment(few, out_of_few)
        seconds_per_scan = (time.perf_counter() - started) / _TEMPLATES
        on_step("copying their results")
        _copy_results(source, out_of_few, out)
        on_step("discovery")
        discovery = _measure(_discover, source, work / "new")
        on_step("claims")
        claims_per_second = _claim_and_release(work / "claims")
        on_step("status")
        status = _measure(read_status, out)
        on_step("tables and report")
        tables = _measure(_collect, out)
        on_step("resuming")
        started = time.perf_counter()
        _segment(few, out_of_few)
        resumed = _TEMPLATES / (time.perf_counter() - started)
        return Scale(
            machine=describe_machine(),
            scans=scans,
            seconds_per_scan=round(seconds_per_scan, 4),
            discovery=discovery,
            claims_per_second=claims_per_second,
            status=status,
            tables=tables,
            volumes_mib=round((out / "volumes.csv").stat().st_size / 2**20, 1),
            report_mib=round((out / "report.html").stat().st_size / 2**20, 1),
            resumed_per_second=round(resumed),
        )


def _write_scans(source: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    voxels = generator.integers(50, 60, _SHAPE).astype(np.int16)
    voxels[6:18, 6:22, 2:10] += 100
    affine = np.diag([*_SPACING_MM, 1.0])
    for number in range(count):
        folder = source / f"sub-{number:07d}" / "anat"
        folder.mkdir(parents=True)
        voxels[0, 0, 0], voxels[0, 0, 1] = number % 1000, number // 1000
        image = nib.Nifti1Image(voxels, affine)
        (folder / f"sub-{number:07d}_FLAIR.nii").write_bytes(image.to_bytes())


def _segment(source: Path, out: Path) -> None:
    bundle = load_bundle("demo")
    with FakeBackend(bundle.manifest.network_shape) as backend:
        outcome = run(_plan(source, out), LocalEngine([backend]), Progress())
    for _, error in outcome.failed:
        raise error


def _plan(source: Path, out: Path) -> Job:
    return plan_job(source, out, load_bundle("demo"))


def _copy_results(source: Path, out_of_few: Path, out: Path) -> None:
    """Give every scan the results of one of the templates."""
    templates = sorted(out_of_few.glob("sub-*"))
    contents = [
        {path.name: path.read_bytes() for path in (folder / "anat").iterdir()}
        for folder in templates
    ]
    for number, folder in enumerate(sorted(source.iterdir())):
        to = out / folder.name / "anat"
        to.mkdir(parents=True)
        template = templates[number % len(templates)].name
        for name, content in contents[number % len(templates)].items():
            if name.endswith(SIDECAR_SUFFIX):
                text = content.decode("utf-8").replace(template, folder.name)
                sidecar = json.loads(text)
                digest = f"{number:064x}"
                sidecar["input_sha256"] = digest
                for image in sidecar["channels"].values():
                    image["sha256"] = digest
                content = json.dumps(sidecar, indent=2).encode("utf-8")
            (to / name.replace(template, folder.name)).write_bytes(content)


def _discover(source: Path, out: Path) -> None:
    job = _plan(source, out)
    assert job.cases


def _collect(out: Path) -> None:
    with Claims(out / CLAIMS_FOLDER) as claims:
        collect(out, claims, lambda: read_failures(out))


def _claim_and_release(folder: Path) -> int:
    with Claims(folder) as claims:
        started = time.perf_counter()
        for number in range(_CLAIMS):
            claim = claims.try_claim(f"sub-{number:07d}")
            assert claim is not None
            claims.release(claim)
        return round(_CLAIMS / (time.perf_counter() - started))


def _measure(step: Callable[..., object], *arguments: Path) -> Step:
    """Run a step in a new process."""
    receive, send = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_run_and_send, args=(send, step, *arguments))
    process.start()
    seconds, peak_mib = receive.recv()
    process.join()
    return Step(seconds=round(seconds, 2), peak_mib=peak_mib)


def _run_and_send(send: object, step: Callable[..., object], *arguments: Path) -> None:
    started = time.perf_counter()
    step(*arguments)
    seconds = time.perf_counter() - started
    per_mib = _KIB_IN_MIB if sys.platform == "linux" else _KIB_IN_MIB**2
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // per_mib
    send.send((seconds, peak_mib))  # type: ignore[attr-defined]
