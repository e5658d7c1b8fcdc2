"""A whole folder of scans: each is segmented or its failure told, and one table of volumes."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wmh_runtime.atomic import write_text_atomically
from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle import Bundle, Output, sha256_of
from wmh_runtime.discovery import Found
from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.outputs import (
    OutputPaths,
    make_folder,
    output_paths,
    require_writable,
    write_output,
)
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

    def done(self, scan: Found, records: Sequence[Record], *, kept: bool) -> None:
        """A scan is finished, or had been before; one record for each output."""

    def failed(self, scan: Found, error: WmhError) -> None:
        """A scan could not be segmented."""


def run(job: Job, backend: Backend, progress: Progress) -> Outcome:
    """Segment every scan of a job and write `volumes.csv`. A failure does not stop the others.

    Args:
        job: what to do.
        backend: open, for the job's bundle.
        progress: is told after each scan.

    Raises:
        InputError: the output folder cannot be written.
    """
    make_folder(job.out)
    require_writable(job.out)
    outcome = Outcome()
    table: list[dict[str, str]] = []
    segmenter = Segmenter(job.bundle.manifest.preparation, job.outputs, backend)
    settings = [Settings.of(job.bundle, output, backend) for output in job.outputs]
    names = Counter(_paths(job, scan)[0].mask for scan in job.scans)
    try:
        for scan in job.scans:
            paths = _paths(job, scan)
            try:
                if names[paths[0].mask] > 1:
                    raise InputError(
                        f"and another scan would both be written to {paths[0].mask.name}",
                        "Rename one of them.",
                        about=scan.path,
                    )
                records = None if job.overwrite else _finished(scan, paths, settings, job)
                kept = records is not None
                if records is None:
                    records = _segment(scan, paths, settings, job, segmenter)
            except WmhError as error:
                outcome.failed.append((scan, error))
                progress.failed(scan, error)
            else:
                (outcome.kept if kept else outcome.done).append(scan)
                table += [_row(scan, *pair, job) for pair in zip(records, paths, strict=True)]
                progress.done(scan, records, kept=kept)
    finally:
        if table:
            _write_table(job.out / VOLUMES_NAME, table)
    return outcome


def _paths(job: Job, scan: Found) -> list[OutputPaths]:
    return [output_paths(job.out, scan.relative, output.name) for output in job.outputs]


def _finished(
    scan: Found, paths: Sequence[OutputPaths], settings: Sequence[Settings], job: Job
) -> list[Record] | None:
    """Return the records of a scan that is finished already, None where it is not.

    Raises:
        InputError: it is finished, but with other settings or of another input.
    """
    if not any(to.record.exists() for to in paths):
        return None
    records = [read_record(to.record) for to in paths]
    try:
        input_sha256 = sha256_of(scan.path)
    except OSError:
        return None  # reading the scan will say what is wrong with it
    for to, record, wanted in zip(paths, records, settings, strict=True):
        if record is None or (record.settings, record.input_sha256) != (wanted, input_sha256):
            raise InputError(
                f"has a result of another input or other settings, {to.record}",
                "Give --overwrite to replace it, or another output folder.",
                about=scan.path,
            )
        wanted_files = [to.mask, to.picture] + [to.probability] * job.with_probability
        if not all(path.exists() for path in wanted_files):
            return None
    return [record for record in records if record is not None]


def _segment(
    scan: Found,
    paths: Sequence[OutputPaths],
    settings: Sequence[Settings],
    job: Job,
    segmenter: Segmenter,
) -> list[Record]:
    image = read_scan(scan.path)
    segmentation = segmenter.segment(image)
    records = []
    for result, to, made_with in zip(segmentation.results, paths, settings, strict=True):
        record = Record.of(image, segmentation, result, made_with, segmenter.backend)
        write_output(image, result, record, to, with_probability=job.with_probability)
        records.append(record)
    return records


def _row(scan: Found, record: Record, paths: OutputPaths, job: Job) -> dict[str, str]:
    output = record.settings.output
    return {
        "scan": scan.relative.as_posix(),
        "output": output.name,
        "volume_ml": f"{record.volume_ml:.4f}",
        "lesion_count": str(record.lesion_count),
        "threshold": f"{output.threshold:g}",
        "min_lesion_mm3": f"{output.min_lesion_mm3:g}",
        "model_id": record.settings.model_id,
        "mask": paths.mask.relative_to(job.out).as_posix(),
        "warnings": " | ".join(record.warnings),
    }


def _write_table(path: Path, rows: Sequence[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomically(path, text.getvalue())
