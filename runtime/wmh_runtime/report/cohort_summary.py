"""The summary of all results of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from wmh_runtime.postprocessing.load_bands import LOAD_BANDS
from wmh_runtime.report.model import Cohort, Quartiles, ScanEntry


def summarize(entries: Sequence[ScanEntry]) -> list[Cohort]:
    """Summarize the results of each output, in the order of their names.

    Results that a reader excluded are left out.
    """
    used = [entry for entry in entries if not entry.is_excluded]
    outputs = sorted({entry.output for entry in used})
    return [_summary(output, [e for e in used if e.output == output]) for output in outputs]


def quartiles(values: Sequence[float]) -> Quartiles:
    """Return median and quartiles of at least one value, with linear interpolation."""
    first, median, third = np.percentile(values, (25, 50, 75))
    return Quartiles(float(first), float(median), float(third))


def _summary(output: str, entries: Sequence[ScanEntry]) -> Cohort:
    shares = [e.percent_of_brain for e in entries if e.percent_of_brain is not None]
    counts = Counter(entry.band for entry in entries)
    return Cohort(
        output=output,
        count=len(entries),
        volume_ml=quartiles([entry.volume_ml for entry in entries]),
        lesion_count=quartiles([entry.lesion_count for entry in entries]),
        percent_of_brain=quartiles(shares) if shares else None,
        warned=sum(bool(entry.warnings) for entry in entries),
        flagged=sum(bool(entry.flags) for entry in entries),
        by_band=[(band, counts[band]) for band in LOAD_BANDS],
    )
