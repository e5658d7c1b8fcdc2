"""Write a comparison of models: tables, box plots, and a summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wmh_runtime.evaluation.comparison.analysis import Comparison
from wmh_runtime.evaluation.comparison.figure import draw_comparison
from wmh_runtime.evaluation.comparison.rows import (
    anova_rows,
    description_rows,
    paired_rows,
    pairwise_rows,
)
from wmh_runtime.evaluation.comparison.summary import summary_text
from wmh_runtime.evaluation.report.writer import SUMMARY_NAME
from wmh_runtime.files.atomic import write_bytes_atomically, write_text_atomically
from wmh_runtime.files.tables import write_table_atomically

FIGURE_NAME = "comparison.png"
_TABLES = {
    "comparison.csv": description_rows,
    "anova.csv": anova_rows,
    "pairwise.csv": pairwise_rows,
    "paired.csv": paired_rows,
}


def write_comparison(out: Path, comparison: Comparison, reports: Mapping[str, Path]) -> None:
    """Write a comparison. Existing files with the same names are replaced.

    Args:
        out: writable folder.
        comparison: all statistics.
        reports: name of the model → folder of its report.

    Raises:
        InputError: a file cannot be written.
    """
    for name, rows in _TABLES.items():
        write_table_atomically(out / name, rows(comparison))
    write_bytes_atomically(out / FIGURE_NAME, draw_comparison(comparison))
    # Written last: if the summary exists, the comparison is complete.
    text = summary_text(comparison, reports, FIGURE_NAME)
    write_text_atomically(out / SUMMARY_NAME, text)
