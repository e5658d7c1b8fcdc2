"""Find the visits of each subject among results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from wmh_runtime.change.longitudinal_table import TableVisit, date_of
from wmh_runtime.change.order import by_dates, by_labels
from wmh_runtime.change.visits import Visit
from wmh_runtime.dataset.bids import session_of_label
from wmh_runtime.dataset.subjects import session_from_name, subject_of_scan
from wmh_runtime.errors import InputError
from wmh_runtime.files.reading import is_file, real_path
from wmh_runtime.files.tables import MISSING_CELLS, read_table
from wmh_runtime.outputs.folder_results import Result
from wmh_runtime.outputs.paths import output_paths, region_paths
from wmh_runtime.postprocessing.parcellation import BRAIN_SCHEME

# By subject: the visits, at least two, earliest first; or why they cannot be put in order.
VisitsOfSubjects = dict[str, Sequence[Visit] | InputError]


def visits_of_results(
    results: Iterable[Result], out: Path, source: Path, paths: Mapping[Path, Path] | None = None
) -> VisitsOfSubjects:
    """Group results by subject, as BIDS names them: `sub-1_ses-2_…`.

    Subject and session may be in the names of folders or of files. Results without a session are
    left out: they say nothing about an order. Dates are those of `sub-1_sessions.tsv` in the folder
    of the subject, or beside a scan, if it is there.

    Args:
        results: of one output of the model, from `read_results`.
        out: folder of the results.
        source: folder of the scans; the results have the same relative paths.
        paths: of scans that are elsewhere, by relative path.
    """
    found: defaultdict[str, list[Visit]] = defaultdict(list)
    for result in results:
        if label := session_from_name(result.scan.as_posix()):
            visit = visit_of_result(result, out, _file_of(result, source, paths), label)
            found[subject_of_scan(result.scan)].append(visit)
    groups: VisitsOfSubjects = {}
    for subject, visits in sorted(found.items()):
        if len(visits) > 1:
            try:
                dated = _dated(visits, subject)
                groups[subject] = by_dates(dated, subject, is_ordered=False) or by_labels(
                    dated, subject
                )
            except InputError as error:
                groups[subject] = error
    return groups


def visits_of_table(
    table: Mapping[str, Sequence[TableVisit]],
    results: Iterable[Result],
    out: Path,
    source: Path,
    paths: Mapping[Path, Path] | None = None,
) -> VisitsOfSubjects:
    """Find the results of the scans in a table; scans without a result are left out.

    Args:
        table: from `read_longitudinal_table`.
        results: of one output of the model, from `read_results`.
        out: folder of the results.
        source: folder of the scans; the results have the same relative paths.
        paths: of scans that are elsewhere, by relative path.
    """
    by_file = {}
    for result in results:
        file = _file_of(result, source, paths)
        by_file[real_path(file)] = result, file
    groups: VisitsOfSubjects = {}
    for subject, rows in table.items():
        visits = [
            visit_of_result(found[0], out, found[1], row.label, row.date)
            for row in rows
            if (found := by_file.get(real_path(row.scan))) is not None
        ]
        if len(visits) > 1:
            try:
                # Without dates, the order is that of the table.
                groups[subject] = by_dates(visits, subject, is_ordered=True) or visits
            except InputError as error:
                groups[subject] = error
    return groups


def visit_of_result(
    result: Result, out: Path, scan: Path, label: str, day: date | None = None
) -> Visit:
    """Name the files of a result; whether they are as they were, reading will tell.

    Args:
        result: of the scan.
        out: folder of results.
        scan: the image.
        label: of the visit.
        day: of the scan; None: not known.
    """
    paths = output_paths(out, result.scan, result.output)
    regions = region_paths(out, result.scan)[BRAIN_SCHEME].image
    return Visit(
        label,
        scan,
        paths.mask,
        day,
        probability=paths.probability if is_file(paths.probability) else None,
        threshold=result.sidecar.settings.output.threshold,
        regions=regions if is_file(regions) else None,
        scan_sha256=result.sidecar.input_sha256,
        mask_sha256=result.sidecar.mask_sha256,
        name=result.scan.as_posix(),
        settings=result.sidecar.settings,
        is_corrected=result.sidecar.manual is not None,
    )


def _file_of(result: Result, source: Path, paths: Mapping[Path, Path] | None) -> Path:
    return (paths or {}).get(result.scan, source / result.scan)


def _dated(visits: list[Visit], subject: str) -> list[Visit]:
    """Add the dates of a subject's table of sessions: beside a scan, or in the subject's folder."""
    folders = [visit.scan.parent for visit in visits]
    folders += [one for visit in visits for one in visit.scan.parents if one.name == subject]
    table = next(filter(is_file, (one / f"{subject}_sessions.tsv" for one in folders)), None)
    dates = {} if table is None else _session_dates(table)
    return [replace(visit, date=dates.get(session_of_label(visit.label))) for visit in visits]


def _session_dates(table: Path) -> Mapping[str, date]:
    """Return session → date, of those that the table says."""
    dates = {}
    for row in read_table(table):
        session, text = row.get("session_id", ""), row.get("acq_time", "")
        if text not in MISSING_CELLS:
            if (day := date_of(text)) is None:
                problem = f"has the date {text!r} of {session}"
                raise InputError(problem, "Write dates as 2019-03-14.", about=table)
            dates[session_of_label(session)] = day
    return dates
