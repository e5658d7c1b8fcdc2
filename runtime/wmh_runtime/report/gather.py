"""Gather what a report shows, from the files of an output folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from wmh_runtime.change.record import ChangeRecord
from wmh_runtime.files.reading import is_file
from wmh_runtime.files.tables import read_table
from wmh_runtime.outputs.failures import COMPARISON, SEGMENTATION
from wmh_runtime.outputs.folder_results import FolderResults, Result
from wmh_runtime.outputs.reviews import Reviews
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.outputs.tables.results import FAILURES_NAME
from wmh_runtime.outputs.tables.skipped import SKIPPED_NAME
from wmh_runtime.report.changes import change_entries
from wmh_runtime.report.cohort_summary import summarize
from wmh_runtime.report.model import Failure, ModelUse, Report
from wmh_runtime.report.pages import report_pages
from wmh_runtime.report.scan_entry import model_use, scan_entry, with_pictures
from wmh_runtime.text import as_utf8


def gather(
    out: Path,
    found: FolderResults,
    reviews: Reviews,
    changes: Sequence[ChangeRecord],
    title: str,
) -> Iterator[Report]:
    """Gather what is known of the results in a folder, for one page after the other.

    The summary is of all results. Failures and changes are on the first page only.

    Args:
        out: output folder.
        found: the results in it.
        reviews: marks of readers.
        changes: of subjects over time.
        title: of the report.

    Raises:
        InputError: a table of the folder cannot be read.
    """
    failures = [
        Failure(as_utf8(row.get("scan", "")), row.get("step", SEGMENTATION), as_utf8(row["reason"]))
        for row in _rows(out / FAILURES_NAME)
    ]
    entries = [scan_entry(out, result) for result in found.results]
    of_models = (one for result in found.results for one in result.sidecar.model_warnings)
    pages = report_pages(len(entries))
    first = Report(
        title=as_utf8(title),
        entries=(),
        page=pages[0],
        pages=pages,
        result_count=len(entries),
        failures=[one for one in failures if one.step == SEGMENTATION],
        not_compared=[one for one in failures if one.step == COMPARISON],
        skipped_count=len(_rows(out / SKIPPED_NAME)),
        model_warnings=[as_utf8(one) for one in dict.fromkeys(of_models)],
        models=_models(found.results),
        cohorts=summarize(entries),
        reviews=list(reviews),
        changes=change_entries(out, changes),
    )
    for page in pages:
        numbers = range(page.first - 1, page.last)
        shown = [with_pictures(out, found.results[one], entries[one]) for one in numbers]
        report = replace(first, entries=shown, page=page)
        if page.number > 1:
            report = replace(report, failures=(), not_compared=(), changes=())
        yield report


def _rows(table: Path) -> list[dict[str, str]]:
    return read_table(table) if is_file(table) else []


def _models(results: Sequence[Result]) -> list[ModelUse]:
    """Return the models of the results, the most used first."""
    counts = Counter(_key(one.sidecar) for one in results)
    examples = {_key(one.sidecar): one.sidecar for one in results}
    return [model_use(examples[key], count) for key, count in counts.most_common()]


def _key(sidecar: Sidecar) -> str:
    return f"{sidecar.settings.model_dump_json()} {sidecar.versions.get('wmh-lora')}"
