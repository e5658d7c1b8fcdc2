"""The pages of a report: one with too many pictures would be too large to open."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPORT_NAME = "report.html"
_FURTHER_PAGE = re.compile(r"report-[1-9]\d*\.html", re.ASCII)
RESULTS_OF_A_PAGE = 300  # 34 MB, which a browser shows within 0.3 s


@dataclass(frozen=True)
class ReportPage:
    """A page, with a part of the results."""

    number: int  # from 1
    name: str  # of the file
    first: int  # result on it, from 1
    last: int


def report_pages(results: int) -> list[ReportPage]:
    """Divide results into pages; the first one has the name of the report."""
    stem, suffix = Path(REPORT_NAME).stem, Path(REPORT_NAME).suffix
    return [
        ReportPage(
            number=number,
            name=REPORT_NAME if number == 1 else f"{stem}-{number}{suffix}",
            first=first + 1,
            last=min(first + RESULTS_OF_A_PAGE, results),
        )
        for number, first in enumerate(range(0, max(results, 1), RESULTS_OF_A_PAGE), start=1)
    ]


def is_page(name: str) -> bool:
    """Return whether a file has the name of a page."""
    return name == REPORT_NAME or is_further_page(name)


def is_further_page(name: str) -> bool:
    """Return whether a file has the name of a page after the first one."""
    return _FURTHER_PAGE.fullmatch(name) is not None
