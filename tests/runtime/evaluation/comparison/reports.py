"""Reports of made-up models, with the columns of real ones."""

from tests.runtime.evaluation.test_statistics import case
from wmh_runtime.evaluation.report.summary import case_rows
from wmh_runtime.files.tables import write_table_atomically


def scan(name, site="A", subject=None, **metrics):
    """Return a scored case; its IoU follows from its Dice."""
    if "dice" in metrics:
        metrics = {"iou": metrics["dice"] / (2 - metrics["dice"]), **metrics}
    return case(name, site, subject, **metrics)


def write_report(folder, cases, without=()):
    """Write the table of a report, without some columns."""
    folder.mkdir(parents=True)
    rows = [
        {column: cell for column, cell in row.items() if column not in without}
        for row in case_rows(cases, {})
    ]
    write_table_atomically(folder / "metrics.csv", rows)
    return folder
