"""Differences between models on the same scans."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, count

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.evaluation.comparison.hypothesis_tests import ALPHA, NOT_COMPUTED, holm
from wmh_runtime.evaluation.statistics import bootstrap_interval
from wmh_runtime.text import count_noun

_LEAST_VALUES = 2
# Of differences: equal ones have to be equal for their ranks. Tables have six digits.
_DECIMALS = 9


@dataclass(frozen=True)
class PairedDifference:
    """The difference first − second of a metric on the same scans; NaN if not computed."""

    first: str
    second: str
    count: int  # scans in which both have a value
    left_out: int  # other scans
    mean: float
    low: float  # 95 % bootstrap interval over subjects; NaN with fewer than two subjects
    high: float
    statistic: float  # of Wilcoxon's signed-rank test
    p: float
    p_holm: float  # corrected for the other pairs
    first_better: int  # scans
    second_better: int
    equal: int
    notes: tuple[str, ...]  # why the test was not computed, or what limits it

    @property
    def is_significant(self) -> bool:
        """Whether the models differ, after the correction."""
        return self.p_holm < ALPHA


def paired_differences(
    values: NDArray[np.float64],
    models: Sequence[str],
    subjects: NDArray[np.str_],
    *,
    higher_is_better: bool,
) -> tuple[PairedDifference, ...]:
    """Compare each pair of models on the same scans, with Holm's correction over all pairs.

    Args:
        values: (models, scans) of one metric; NaN is undefined.
        models: their names.
        subjects: (scans,), the subject of each scan.
        higher_is_better: whether a high value is a good one.
    """
    found = []
    pairs = list(combinations(enumerate(models), 2))
    for (row, first), (other_row, second) in pairs:
        differences = np.round(values[row] - values[other_row], _DECIMALS)
        found.append(_compare(first, second, differences, subjects, higher_is_better))
    corrected = holm(one.p for one in found)
    found = [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]
    return tuple(replace(one, notes=(*one.notes, *_too_few(one, len(pairs)))) for one in found)


def _compare(
    first: str,
    second: str,
    differences: NDArray[np.float64],
    subjects: NDArray[np.str_],
    higher_is_better: bool,
) -> PairedDifference:
    has_both = ~np.isnan(differences)
    valid = differences[has_both]
    low, high = math.nan, math.nan
    if len(valid):
        low, high = bootstrap_interval(valid, subjects[has_both])
    statistic, p, notes = _wilcoxon(valid)
    if len(valid) and math.isnan(low):
        notes = (*notes, "no interval: only one subject")
    above, below = int(np.count_nonzero(valid > 0)), int(np.count_nonzero(valid < 0))
    return PairedDifference(
        first=first,
        second=second,
        count=len(valid),
        left_out=len(differences) - len(valid),
        mean=float(valid.mean()) if len(valid) else math.nan,
        low=low,
        high=high,
        statistic=statistic,
        p=p,
        p_holm=math.nan,
        first_better=above if higher_is_better else below,
        second_better=below if higher_is_better else above,
        equal=len(valid) - above - below,
        notes=notes,
    )


def _wilcoxon(differences: NDArray[np.float64]) -> tuple[float, float, tuple[str, ...]]:
    """Return statistic, two-sided p-value and notes of the signed-rank test (Wilcoxon 1945)."""
    from scipy.stats import wilcoxon

    if len(differences) < _LEAST_VALUES:
        return math.nan, math.nan, (f"{NOT_COMPUTED}fewer than {_LEAST_VALUES} values",)
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return math.nan, math.nan, (f"{NOT_COMPUTED}no difference in any scan",)
    result = wilcoxon(nonzero)  # without zeros, as Wilcoxon did
    return float(result.statistic), float(result.pvalue), ()


def _too_few(one: PairedDifference, pairs: int) -> tuple[str, ...]:
    """Say if a difference is not significant because two models differ in few scans.

    If all of n differences have one sign, the p-value is 2 / 2ⁿ, and for the smallest one Holm's
    correction multiplies it by the number of pairs.
    """
    differing = one.first_better + one.second_better
    needed = next(n for n in count(1) if pairs * 2 / 2**n < ALPHA)
    if math.isnan(one.p) or one.is_significant or differing >= needed:
        return ()
    of_pairs = f" with {pairs} pairs of models" if pairs > 1 else ""
    return (
        f"the models differ in {count_noun(differing, 'scan')} only: {needed} are needed for a"
        f" p-value below {ALPHA:g}{of_pairs}",
    )
