"""Find the visits of each subject among the results in a folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

from wmh_runtime.change.longitudinal_table import date_of, read_longitudinal_table
from wmh_runtime.change.order import in_order
from wmh_runtime.change.visits import Visit
from wmh_runtime.dataset import bids
from wmh_runtime.dataset.subjects import session_from_name, subject_of_scan
from wmh_runtime.dataset.table import relative_name
from wmh_runtime.files.reading import is_file
from wmh_runtime.files.tables import read_table
from wmh_runtime.outputs.paths import OutputPaths, output_paths, region_paths
from wmh_runtime.outputs.sidecar import read_sidecar
from wmh_runtime.postprocessing.parcellation import BRAIN_SCHEME


def visits_of_results(out: Path, source: Path, output: str = "wmh") -> dict[str, list[Visit]]:
    """Group the results of a folder by subject, as BIDS names them: `sub-1_ses-2_…`.

    Subject and session may be in the names of folders or of files. Results without a session are
    left out: they say nothing about an order. Dates are those of `sub-1/sub-1_sessions.tsv` beside
    the scans, if it is there.

    Args:
        out: folder of results.
        source: folder of the scans; the results have the same relative paths.
        output: of the model.

    Returns:
        Subject → visits, earliest first. Subjects with one visit are left out.
    """
    found: defaultdict[str, list[Visit]] = defaultdict(list)
    for path in sorted(filter(is_file, out.rglob(f"*{bids.sidecar_name('', output)}"))):
        entities = path.relative_to(out).as_posix().removesuffix(bids.sidecar_name("", output))
        label, subject = session_from_name(entities), subject_of_scan(Path(entities))
        if label and (visit := _visit_of(path, out, source, output, label)) is not None:
            found[subject].append(visit)
    return {
        subject: in_order(_dated(visits, source, subject))
        for subject, visits in sorted(found.items())
        if len(visits) > 1
    }


def visits_of_table(table: Path, out: Path, output: str = "wmh") -> dict[str, list[Visit]]:
    """Return the visits of a table of scans that were segmented; see `read_longitudinal_table`.

    Args:
        table: .csv or .tsv file with the columns subject, visit, scan and perhaps date.
        out: folder of the results of these scans.
        output: of the model.

    Returns:
        Subject → visits, earliest first. Subjects with one visit are left out.

    Raises:
        InputError: the table cannot be used.
    """
    return {
        subject: in_order(
            visit_of_scan(
                table.parent / row.scan, relative_name(row.scan), out, row.label, row.date, output
            )
            for row in rows
        )
        for subject, rows in read_longitudinal_table(table).items()
        if len(rows) > 1
    }


def visit_of_scan(
    scan: Path, relative: Path, out: Path, label: str, day: date | None, output: str = "wmh"
) -> Visit:
    """Name the files of the result of a scan; whether they are there, reading will tell.

    Args:
        scan: the image.
        relative: its path below the folder of the scans, or as in a table.
        out: folder of results.
        label: of the visit.
        day: of the scan; None: not known.
        output: of the model.
    """
    paths = output_paths(out, relative, output)
    regions = region_paths(out, relative)[BRAIN_SCHEME].image
    return Visit(
        label,
        scan,
        paths.mask,
        day,
        probability=paths.probability if is_file(paths.probability) else None,
        threshold=_threshold(paths),
        regions=regions if is_file(regions) else None,
    )


def _visit_of(sidecar: Path, out: Path, source: Path, output: str, label: str) -> Visit | None:
    """Return the visit of a sidecar; None if it is not one of this version."""
    read = read_sidecar(sidecar)
    if read is None:
        return None
    relative = sidecar.relative_to(out).with_name(read.scan_file)
    return visit_of_scan(source / relative, relative, out, label, None, output)


def _threshold(paths: OutputPaths) -> float | None:
    sidecar = read_sidecar(paths.sidecar)
    return None if sidecar is None else sidecar.settings.output.threshold


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
