"""A whole folder of scans: each is segmented or its failure told, and one table of volumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime import bids
from wmh_runtime.atomic import write_table_atomically
from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle import Bundle, sha256_of
from wmh_runtime.discovery import Found
from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.folders import make_writable_folder
from wmh_runtime.manifest import Output
from wmh_runtime.outputs import OutputPaths, output_paths, write_output
from wmh_runtime.record import Record, Settings, read_record
from wmh_runtime.scan import read_scan
from wmh_runtime.segmenter import Segmenter

VOLUMES_NAME = "volumes.csv"


@dataclass(frozen=True)
class Job:
    """What is asked for: which scans, by which model, to where."""

    scans: Sequence[Found]
    out: Path
    bundle: Bundle
    outputs: Sequence[Output]  # the bundle's, or with thresholds and sizes of the user's
    with_probability: bool = False
    overwrite: bool = False


@dataclass
class Outcome:
    """What became of it."""

    done: list[Found] = field(default_factory=list)
    kept: list[Found] = field(default_factory=list)  # finished before, with the same settings
    failed: list[tuple[Found, WmhError]] = field(default_factory=list)


class Progress:
    """What a caller hears of a running job. The default says nothing."""

    def executed(self, scan: Found, share: float) -> None:
        """This share, 0 to 1, of a scan's slices has been executed."""

    def done(self, scan: Found, records: Sequence[Record], *, kept: bool) -> None:
        """A scan is finished, or had been before; one record for each output."""

    def failed(self, scan: Found, error: WmhError) -> None:
        """A scan could not be segmented."""


def run(job: Job, backend: Backend, progress: Progress) -> Outcome:
    """Segment every scan of a job. A failure does not stop the others.

    At the end, however it comes, `volumes.csv` tells of every finished result in the output
    folder, those of earlier runs included.

    Args:
        job: what to do.
        backend: open, for the job's bundle.
        progress: is told of each scan.

    Raises:
        InputError: the output folder or its table cannot be written.
    """
    make_writable_folder(job.out)
    _require_replaceable(job.out / VOLUMES_NAME)
    outcome = Outcome()
    segmenter = Segmenter(job.bundle.manifest.preparation, job.outputs, backend)
    settings = [Settings.of(job.bundle, output, backend) for output in job.outputs]
    names = Counter(_paths(job, scan)[0].mask for scan in job.scans)
    try:
        for scan in job.scans:
            paths = _paths(job, scan)
            try:
                if names[paths[0].mask] > 1:
                    raise InputError(
                        f"would be written to {paths[0].mask.name}, and so would another scan",
                        "Rename one of them.",
                        about=scan.path,
                    )
                records = None if job.overwrite else _finished(scan, paths, settings, job)
                kept = records is not None
                if records is None:
                    records = _segment(scan, paths, settings, job, segmenter, progress)
            except WmhError as error:
                outcome.failed.append((scan, error))
                progress.failed(scan, error)
            else:
                (outcome.kept if kept else outcome.done).append(scan)
                progress.done(scan, records, kept=kept)
    finally:
        _write_table(job.out)
    return outcome


def _paths(job: Job, scan: Found) -> list[OutputPaths]:
    return [output_paths(job.out, scan.relative, output.name) for output in job.outputs]


def _finished(
    scan: Found, paths: Sequence[OutputPaths], settings: Sequence[Settings], job: Job
) -> list[Record] | None:
    """Return the records of a scan that is finished already, None where it is not.

    Raises:
        InputError: what lies there is not this result, and would be lost.
    """
    replace = "Give --overwrite to replace it, or another output folder."
    for to in paths:
        if not to.record.exists() and to.hold_foreign_files:
            problem = f"would replace files that this program did not write: {to.mask.name} or its"
            raise InputError(f"{problem} neighbours", replace, about=scan.path)
    if not all(to.record.exists() for to in paths):
        return None
    records = [record for to in paths if (record := read_record(to.record)) is not None]
    if len(records) < len(paths):
        problem = f"has a record that this version cannot read, {paths[0].record.name}"
        raise InputError(problem, replace, about=scan.path)
    try:
        input_sha256 = sha256_of(scan.path)
    except OSError:
        return None  # reading the scan will say what is wrong with it
    for to, record, wanted in zip(paths, records, settings, strict=True):
        if record.input_sha256 != input_sha256:
            problem = f"has a result of another input, {to.record.name}"
            raise InputError(problem, replace, about=scan.path)
        if record.settings != wanted:
            differing = ", ".join(_differing(record.settings, wanted))
            problem = f"has a result made with another {differing}, {to.record.name}"
            raise InputError(problem, replace, about=scan.path)
        wanted_files = [to.mask, to.picture] + [to.probability] * job.with_probability
        if not all(path.exists() for path in wanted_files):
            return None
    return records


def _differing(found: Settings, wanted: Settings) -> list[str]:
    """Name the settings that differ, each with what was and what would be."""
    before, now = found.model_dump(), wanted.model_dump()
    before |= before.pop("output")
    now |= now.pop("output")
    return [f"{key} ({before[key]}, now {now[key]})" for key in now if before.get(key) != now[key]]


def _segment(
    scan: Found,
    paths: Sequence[OutputPaths],
    settings: Sequence[Settings],
    job: Job,
    segmenter: Segmenter,
    progress: Progress,
) -> list[Record]:
    caution = job.bundle.manifest.caution
    try:
        image = read_scan(scan.path)
        segmentation = segmenter.segment(
            image, on_executed=lambda share: progress.executed(scan, share)
        )
        records = []
        for result, to, made_with in zip(segmentation.results, paths, settings, strict=True):
            record = Record.of(image, segmentation, result, made_with, segmenter.backend, caution)
            write_output(image, result, record, to, with_probability=job.with_probability)
            records.append(record)
    except MemoryError as error:
        remedy = "Use a machine with more memory."
        raise InputError("does not fit into memory", remedy, about=scan.path) from error
    return records


def _require_replaceable(path: Path) -> None:
    """Find out before any work whether the table is open elsewhere, as spreadsheets lock it."""
    try:
        if path.exists():
            path.open("ab").close()
    except OSError as error:
        raise InputError(
            f"cannot be replaced ({error.strerror or error})",
            "Close it where it is open, or choose another output folder.",
            about=path,
        ) from error


def _write_table(out: Path) -> None:
    """Write one row for every finished result below the output folder."""
    rows = sorted(_rows(out), key=lambda row: (row["scan"], row["output"]))
    if rows:
        write_table_atomically(out / VOLUMES_NAME, rows)


def _rows(out: Path) -> Iterator[dict[str, str]]:
    for path in out.rglob(f"*{bids.RECORD_SUFFIX}"):
        record = read_record(path)
        if record is None:
            continue
        folder, output = path.parent.relative_to(out), record.settings.output
        yield {
            "scan": (folder / record.Sources[0]).as_posix(),
            "output": output.name,
            "volume_ml": f"{record.volume_ml:.4f}",
            "lesion_count": str(record.lesion_count),
            "threshold": f"{output.threshold:g}",
            "min_lesion_mm3": f"{output.min_lesion_mm3:g}",
            "bundle": record.settings.bundle,
            "model_id": record.settings.model_id,
            "mask": path.relative_to(out).with_suffix(".nii.gz").as_posix(),
            "warnings": " | ".join(record.warnings),
        }
