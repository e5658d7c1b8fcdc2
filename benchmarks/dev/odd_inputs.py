"""Check that whatever a file contains, it is a result or one line, and that no file ends a run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest.mock import patch

from benchmarks.dev.odd_files import write_odd_file
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.job import Job, Outcome, Progress
from wmh_runtime.cohort.local_engine import LocalEngine
from wmh_runtime.cohort.run import run
from wmh_runtime.dataset.discovery import Discovery, discover
from wmh_runtime.errors import UnexpectedError
from wmh_runtime.files.case_failure import LOG_NAME
from wmh_runtime.preprocessing.preprocess import Preprocessing

_FILES_PER_RUN = 200
_FAST_DISK = "/dev/shm" if Path("/dev/shm").is_dir() else None  # in memory, on Linux
_PREPROCESSING = Preprocessing(pixel_size_mm=8, size_px=16)  # a slice takes a millisecond


@dataclass
class OddInputs:
    """What became of the files."""

    files: int = 0
    segmented: int = 0
    refused: int = 0  # in one line
    skipped: int = 0  # because of their names
    faults: list[str] = field(default_factory=list)  # each with the number of its file
    log: str = ""  # tracebacks of unexpected errors


def check_odd_inputs(
    bundle: Bundle,
    count: int,
    *,
    seed: int = 0,
    draw_pictures: bool = True,
    on_files: Callable[[int], None] = lambda _: None,
) -> OddInputs:
    """Run odd files through the runner, with a fake backend.

    Args:
        bundle: its outputs are used.
        count: number of files.
        seed: another seed gives other files.
        draw_pictures: also draw the quality-control image of each result, which takes most of the
            time.
        on_files: called with the number of files of each run, after it.
    """
    manifest = bundle.manifest.model_copy(update={"preprocessing": _PREPROCESSING})
    small = replace(bundle, manifest=manifest)
    total = OddInputs()
    with nullcontext() if draw_pictures else _without_pictures():
        for first in range(0, count, _FILES_PER_RUN):
            numbers = range(first, min(first + _FILES_PER_RUN, count))
            with tempfile.TemporaryDirectory(dir=_FAST_DISK) as name:
                _add_run(total, Path(name), numbers, seed, small)
            on_files(len(numbers))
    return total


def _without_pictures() -> AbstractContextManager[object]:
    return patch("wmh_runtime.outputs.writer.qc_image", return_value=b"")


def _add_run(total: OddInputs, folder: Path, numbers: range, seed: int, bundle: Bundle) -> None:
    for number in numbers:
        write_odd_file(folder / "in", number, seed)
    try:
        found, outcome = _run(folder, bundle)
    except Exception as error:
        total.faults.append(f"{numbers}: the run ended with {type(error).__name__}: {error}")
        return
    total.segmented += len(outcome.done)
    total.refused += len(outcome.failed)
    total.skipped += len(found.skipped)
    total.files += len(found.scans) + len(found.skipped)
    total.faults += _faults(outcome, len(found.scans))
    log = folder / "out" / LOG_NAME
    total.log += log.read_text(encoding="utf-8") if log.exists() else ""


def _run(folder: Path, bundle: Bundle) -> tuple[Discovery, Outcome]:
    """Return the scans that were found, and what became of them."""
    out = folder / "out"
    found = discover(folder / "in", out)
    job = Job(found, out, bundle, bundle.manifest.outputs)
    with FakeBackend(bundle.manifest.network_shape) as backend:
        return found, run(job, LocalEngine([backend]), Progress())


def _faults(outcome: Outcome, found: int) -> Iterator[str]:
    if len(outcome.done) + len(outcome.failed) != found:
        yield f"{found} scans found, but {len(outcome.done)} done and {len(outcome.failed)} failed"
    for case, error in outcome.failed:
        if isinstance(error, UnexpectedError):
            yield f"{case.relative.parent}: {error}"
        elif len(str(error).splitlines()) != 1 or (not error.remedy and error.about is None):
            yield f"{case.relative.parent}: not one line with a remedy: {error!r}"
