"""Rows of the tables of a comparison. NaN is an empty cell."""

from __future__ import annotations

import math

from wmh_runtime.evaluation.comparison.analysis import Comparison

_Row = dict[str, object]


def description_rows(comparison: Comparison) -> list[_Row]:
    """Return one row for each metric, model, and level of a factor."""
    return [
        {
            "metric": one.measure.column,
            "model": one.model,
            "by": one.by,
            "group": one.group,
            "n": one.count,
            "left_out": one.left_out,
            "mean": _cell(one.mean),
            "sd": _cell(one.sd),
            "median": _cell(one.median),
        }
        for one in comparison.descriptions
    ]


def anova_rows(comparison: Comparison) -> list[_Row]:
    """Return one row for each analysis of variance."""
    return [
        {
            "metric": family.measure.column,
            "by": family.by,
            "model": family.model,
            "f": _cell(family.anova.f),
            "df_between": _cell(family.anova.df_between),
            "df_within": _cell(family.anova.df_within),
            "p": _cell(family.anova.p),
            "significant": _yes_or_no(family.anova.p, family.anova.is_significant),
            "equal_variances_p": _cell(family.anova.variance_p),
            "notes": "; ".join(family.anova.notes),
        }
        for family in comparison.families
    ]


def pairwise_rows(comparison: Comparison) -> list[_Row]:
    """Return one row for each two-sample t-test."""
    return [
        {
            "metric": family.measure.column,
            "by": family.by,
            "model": family.model,
            "first": test.first,
            "second": test.second,
            "n_first": test.counts[0],
            "n_second": test.counts[1],
            "mean_first": _cell(test.means[0]),
            "mean_second": _cell(test.means[1]),
            "t": _cell(test.t),
            "df": _cell(test.df),
            "p": _cell(test.p),
            "p_holm": _cell(test.p_holm),
            "significant": _yes_or_no(test.p, test.is_significant),
            "notes": "; ".join(test.notes),
        }
        for family in comparison.families
        for test in family.t_tests
    ]


def paired_rows(comparison: Comparison) -> list[_Row]:
    """Return one row for each metric and pair of models."""
    return [
        {
            "metric": measure.column,
            "first": one.first,
            "second": one.second,
            "n": one.count,
            "left_out": one.left_out,
            "difference": _cell(one.mean),
            "difference_low": _cell(one.low),
            "difference_high": _cell(one.high),
            "wilcoxon": _cell(one.statistic),
            "p": _cell(one.p),
            "p_holm": _cell(one.p_holm),
            "significant": _yes_or_no(one.p, one.is_significant),
            "first_better": one.first_better,
            "second_better": one.second_better,
            "equal": one.equal,
            "notes": "; ".join(one.notes),
        }
        for measure, differences in comparison.paired.items()
        for one in differences
    ]


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _yes_or_no(p: float, is_significant: bool) -> str:
    """Return an empty cell for a test that was not computed."""
    return "" if math.isnan(p) else "yes" if is_significant else "no"
