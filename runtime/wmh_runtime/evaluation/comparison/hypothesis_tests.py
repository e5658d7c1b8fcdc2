"""Tests of groups of values: analysis of variance, t-tests, and Holm's correction.

All of them take the values of the groups as independent. Models on the same scans are not: there,
`paired` has the tests that fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
NOT_COMPUTED = "not computed: "
UNEQUAL_VARIANCES = "unequal variances"
_FEW_VALUES = 5
_LEAST_VALUES = 2
_NAN = math.nan
_LEAST_FOR_VARIANCES = 3  # two values have the same distance to their median

Groups = Mapping[str, NDArray[np.float64]]  # name of the group → its values, without NaN


@dataclass(frozen=True)
class Anova:
    """One-way analysis of variance; numbers are NaN if it was not computed."""

    f: float
    df_between: float
    df_within: float
    p: float
    variance_p: float  # of the test of Brown and Forsythe; NaN without three values in each group
    notes: tuple[str, ...]  # why it was not computed, and assumptions that do not hold

    @property
    def is_significant(self) -> bool:
        """Whether the means of the groups differ."""
        return self.p < ALPHA


@dataclass(frozen=True)
class TTest:
    """Two-sample t-test with pooled variance; numbers are NaN if it was not computed."""

    first: str
    second: str
    counts: tuple[int, int]
    means: tuple[float, float]  # NaN of a group without values
    t: float
    df: float
    p: float
    p_holm: float  # corrected for the other pairs
    notes: tuple[str, ...]

    @property
    def is_significant(self) -> bool:
        """Whether the means differ, after the correction."""
        return self.p_holm < ALPHA


def holm(p_values: Iterable[float]) -> list[float]:
    """Correct p-values of one family of tests (Holm 1979, Scand. J. Statist. 6: 65-70).

    The smallest of m values is multiplied by m, the next one by m − 1, and so on. None becomes
    less than the one before it, or more than 1.

    Args:
        p_values: NaN is a test that was not computed. It stays NaN, and does not count.
    """
    corrected = list(p_values)
    computed = [index for index, p in enumerate(corrected) if not math.isnan(p)]
    largest = 0.0
    for rank, index in enumerate(sorted(computed, key=lambda index: corrected[index])):
        largest = max(largest, min(1.0, corrected[index] * (len(computed) - rank)))
        corrected[index] = largest
    return corrected


def anova(groups: Groups) -> Anova:
    """Test whether the means of two or more groups differ.

    Groups of fewer than two values are left out, with a note.
    """
    from scipy.stats import f_oneway

    small = [name for name, values in groups.items() if len(values) < _LEAST_VALUES]
    if small and len(groups) - len(small) > 1:
        rest = anova({name: values for name, values in groups.items() if name not in small})
        left_out = f"without {_quoted(small)}: fewer than {_LEAST_VALUES} values"
        return replace(rest, notes=(left_out, *rest.notes))
    obstacle = _obstacle(groups)
    if obstacle:
        return Anova(_NAN, _NAN, _NAN, _NAN, _NAN, (obstacle,))
    variance_p = _variance_p(groups)
    result = f_oneway(*groups.values())
    return Anova(
        f=float(result.statistic),
        df_between=len(groups) - 1,
        df_within=sum(map(len, groups.values())) - len(groups),
        p=float(result.pvalue),
        variance_p=variance_p,
        notes=_assumptions(groups, variance_p),
    )


def t_tests(groups: Groups) -> tuple[TTest, ...]:
    """Compare each pair of groups, with Holm's correction over all pairs."""
    tests = [
        _t_test({first: groups[first], second: groups[second]})
        for first, second in combinations(groups, 2)
    ]
    corrected = holm(test.p for test in tests)
    return tuple(replace(test, p_holm=p) for test, p in zip(tests, corrected, strict=True))


def _t_test(groups: Groups) -> TTest:
    from scipy.stats import ttest_ind_from_stats

    first, second = groups
    counts = (len(groups[first]), len(groups[second]))
    means = (_mean(groups[first]), _mean(groups[second]))
    obstacle = _obstacle(groups)
    if obstacle:
        return TTest(first, second, counts, means, _NAN, _NAN, _NAN, _NAN, (obstacle,))
    deviations = [float(values.std(ddof=1)) for values in groups.values()]
    # From the statistics, as with the values scipy warns of a group without variance.
    result = ttest_ind_from_stats(
        *(means[0], deviations[0], counts[0]), *(means[1], deviations[1], counts[1])
    )
    return TTest(
        first=first,
        second=second,
        counts=counts,
        means=means,
        t=float(result.statistic),
        df=sum(counts) - 2,
        p=float(result.pvalue),
        p_holm=math.nan,
        notes=_assumptions(groups, _variance_p(groups)),
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan


def _obstacle(groups: Groups) -> str:
    """Return why groups cannot be tested; empty if they can."""
    too_few = [name for name, values in groups.items() if len(values) < _LEAST_VALUES]
    if too_few:
        return f"{NOT_COMPUTED}fewer than {_LEAST_VALUES} values in {_quoted(too_few)}"
    if len(_constant(groups)) == len(groups):
        return f"{NOT_COMPUTED}no variance in any group"
    return ""


def _assumptions(groups: Groups, variance_p: float) -> tuple[str, ...]:
    """Return the assumptions that do not hold."""
    few = [name for name, values in groups.items() if len(values) < _FEW_VALUES]
    constant = _constant(groups)
    return (
        *([f"fewer than {_FEW_VALUES} values in {_quoted(few)}"] if few else []),
        *([f"no variance in {_quoted(constant)}"] if constant else []),
        *([UNEQUAL_VARIANCES] if variance_p < ALPHA else []),
    )


def _quoted(names: Sequence[str]) -> str:
    """List names of groups, which may have spaces: "under 2", "2 to 5"."""
    return ", ".join(f'"{name}"' for name in names)


def _constant(groups: Groups) -> Sequence[str]:
    """Return the groups whose values are all equal."""
    return [name for name, values in groups.items() if len(values) and np.ptp(values) == 0]


def _variance_p(groups: Groups) -> float:
    """Return the p-value of the test of Brown and Forsythe (1974) for equal variances."""
    from scipy.stats import levene

    if min(map(len, groups.values())) < _LEAST_FOR_VARIANCES:
        return math.nan
    distances = [np.abs(values - np.median(values)) for values in groups.values()]
    if all(np.ptp(of_group) == 0 for of_group in distances):
        return math.nan  # 0/0 or x/0: the distances do not vary within any group
    return float(levene(*groups.values(), center="median").pvalue)
