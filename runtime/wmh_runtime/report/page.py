"""Write the report of an output folder: one HTML file without anything from outside."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from markupsafe import Markup

from wmh_runtime.change.record import ChangeRecord
from wmh_runtime.change.rules import CLASSES
from wmh_runtime.figures.probability_color import SMALLEST_SHOWN, STOPS
from wmh_runtime.figures.slice_overlay import OUTLINE_COLOR
from wmh_runtime.files.atomic import remove, write_text_atomically
from wmh_runtime.outputs.folder_results import FolderResults
from wmh_runtime.outputs.reviews import (
    ACCEPT,
    EDIT,
    EXCLUDE,
    REVIEW_COLUMNS,
    REVIEWS_NAME,
    Reviews,
)
from wmh_runtime.postprocessing.load_bands import LOAD_BANDS
from wmh_runtime.report.gather import gather
from wmh_runtime.report.inline import asset, content_policy, page_environment
from wmh_runtime.report.model import Report, ScanEntry
from wmh_runtime.report.pages import REPORT_NAME, is_further_page
from wmh_runtime.report.plots import distribution, size_histogram
from wmh_runtime.text import INTENDED_USE

_KEYS = {ACCEPT: "a", EDIT: "e", EXCLUDE: "x"}  # of the decisions
_TITLE = "White matter hyperintensities"
# One script in parts; a part uses those above it when it starts, and all of them later.
_SCRIPTS = (
    *("data", "reviews", "review_table", "scan_table", "scan", "keys"),
    *("plot", "print", "start"),
)


def write_report(
    out: Path,
    found: FolderResults,
    reviews: Reviews | None = None,
    changes: Sequence[ChangeRecord] = (),
    *,
    title: str = _TITLE,
) -> Path:
    """Write `report.html` of all results in a folder; replace an earlier one.

    It is made from the files in the folder: the sidecars, the pictures of slices beside them, and
    the tables of failed and skipped scans. Of many results, there are further pages:
    `report-2.html`, and so on.

    Args:
        out: output folder of a run.
        found: the results in it, from `read_results`.
        reviews: marks of readers.
        changes: of subjects over time, from `read_changes`.
        title: of the report.

    Returns:
        The first page.

    Raises:
        InputError: a table in the folder cannot be read, or the report cannot be written.
    """
    names = set()
    for report in gather(out, found, reviews or [], changes, title):
        write_text_atomically(out / report.page.name, render(report))
        names.add(report.page.name)
    for path in out.glob("*.html"):
        if is_further_page(path.name) and path.name not in names:  # there were more results
            remove(path)
    return out / REPORT_NAME


def render(report: Report) -> str:
    """Return the page of a report."""
    style, script = asset("report.css"), _script()
    by_output = {
        cohort.output: [entry for entry in report.entries if entry.output == cohort.output]
        for cohort in report.cohorts
    }
    return (
        page_environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            style=style,
            script=script,
            policy=content_policy([script], [style], "data:"),
            intended_use=INTENDED_USE,
            version=version("wmh-lora"),
            bands=list(LOAD_BANDS),
            plots={
                cohort.output: distribution(by_output[cohort.output], cohort.volume_ml)
                for cohort in report.cohorts
            },
            histogram=size_histogram,
            change_classes=CLASSES,
            decisions=_KEYS,
            outline_color=OUTLINE_COLOR,
            probability_stops=[
                (f"{place:.0%}", "#{:02x}{:02x}{:02x}".format(*color[:3])) for place, color in STOPS
            ],
            smallest_probability=SMALLEST_SHOWN,
            page_data={
                "scans": [_for_script(entry) for entry in report.entries],
                "reviews": [vars(review) for review in report.reviews],
                "columns": REVIEW_COLUMNS,
                "decisions": _KEYS,
                "reviewsName": REVIEWS_NAME,
            },
        )
    )


def _script() -> Markup:
    """Return the script of the page: its parts, in one function so that no name is global."""
    parts = Markup("\n").join(asset(f"report/{name}.js") for name in _SCRIPTS)
    return Markup('"use strict";\n(() => {{\n{}}})();\n').format(parts)


def _for_script(entry: ScanEntry) -> dict[str, str]:
    return {
        "id": entry.anchor,
        "name": entry.name,
        "scan": entry.scan,
        "output": entry.output,
        "sha": entry.mask_sha256,
    }
