"""Find the visits of each subject among results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from wmh_runtime.change.longitudinal_table import TableVisit, date_of
from wmh_runtime.change.order import in_order
from wmh_runtime.change.visits import Visit
from wmh_runtime.dataset.subjects import session_from_name, subject_of_scan
from wmh_runtime.errors import InputError
from wmh_runtime.files.reading import is_file
from wmh_runtime.files.tables import read_table
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
    left out: they say nothing about an order. Dates are those of `sub-1/sub-1_sessions.tsv` beside
    the scans, if it is there.

    Args:
        results: of one output of the model, from `read_results`.
        out: folder of the results.
        source: folder of the scans; the results have the same relative paths.
        paths: of scans that are elsewhere, by relative path.
    """
    found: defaultdict[str, list[Visit]] = defaultdict(list)
    for result in results:
        if label := session_from_name(result.scan.as_posix()):
            scan = (paths or {}).get(result.scan, source / result.scan)
            found[subject_of_scan(result.scan)].append(visit_of_result(result, out, scan, label))
    groups: VisitsOfSubjects = {}
    for subject, visits in sorted(found.items()):
        if len(visits) > 1:
            try:
                groups[subject] = in_order(_dated(visits, source, subject))
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
    by_scan = {}
    for result in results:
        scan = (paths or {}).get(result.scan, source / result.scan)
        by_scan[real_path(scan)] = result, scan
    groups: VisitsOfSubjects = {}
    for subject, rows in table.items():
        visits = [
            visit_of_result(found[0], out, found[1], row.label, row.date)
            for row in rows
            if (found := by_scan.get(real_path(row.scan))) is not None
        ]
        if len(visits) > 1:
            groups[subject] = in_order(visits)
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
    )


def real_path(scan: Path) -> Path:
    """Return the path of a scan with all links of its folders followed, but not its own."""
    return scan.parent.resolve() / scan.name


def _dated(visits: list[Visit], source: Path, subject: str) -> list[Visit]:
    """Add the dates of a subject's table of sessions."""
    dates = _session_dates(source / subject / f"{subject}_sessions.tsv")
    return [replace(visit, date=dates.get(visit.label)) for visit in visits]


def _session_dates(table: Path) -> Mapping[str, date]:
    """Return session → date; empty if there is no table."""
    if not is_file(table):
        return {}
    dates = {
        row.get("session_id", ""): date_of(row.get("acq_time", "")) for row in read_table(table)
    }
    return {session: day for session, day in dates.items() if day is not None}
