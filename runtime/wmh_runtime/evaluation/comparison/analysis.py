"""All statistics of a comparison of models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.evaluation.comparison.factors import Factor, Factors
from wmh_runtime.evaluation.comparison.hypothesis_tests import (
    Anova,
    Groups,
    TTest,
    anova,
    t_tests,
)
from wmh_runtime.evaluation.comparison.measures import MEASURES, Measure
from wmh_runtime.evaluation.comparison.paired import PairedDifference, paired_differences
from wmh_runtime.evaluation.comparison.reports import Scores
from wmh_runtime.text import count_noun

ALL, MODEL = "all", "model"


@dataclass(frozen=True)
class Description:
    """A metric of one model, in all scans or in one level of a factor."""

    measure: Measure
    model: str
    by: str  # name of the factor; "all" for all scans
    group: str  # level of the factor; "all" for all scans
    count: int  # scans with a value
    left_out: int  # scans in which the metric is undefined
    mean: float  # NaN without a value
    sd: float  # of a sample; NaN with fewer than two values
    median: float


@dataclass(frozen=True)
class Family:
    """The tests of a metric by model, or of one model by a factor."""

    measure: Measure
    by: str  # "model", or name of the factor
    model: str  # "" if by model
    anova: Anova
    t_tests: tuple[TTest, ...]  # of all pairs; Holm's correction is over them


@dataclass(frozen=True)
class Comparison:
    """What was compared, and what was found."""

    scores: Scores
    factors: Factors
    descriptions: tuple[Description, ...]
    families: tuple[Family, ...]
    paired: Mapping[Measure, tuple[PairedDifference, ...]]

    @property
    def by_model(self) -> tuple[Family, ...]:
        """The tests by model, one family for each metric."""
        return tuple(family for family in self.families if not family.model)

    def by_factor(self, factor: Factor) -> tuple[Family, ...]:
        """Return the tests by a factor, one family for each metric and model."""
        return tuple(one for one in self.families if one.model and one.by == factor.name)


def analyze(scores: Scores, factors: Factors) -> Comparison:
    """Compute all statistics."""
    return Comparison(
        scores=scores,
        factors=factors,
        descriptions=tuple(_descriptions(scores, factors)),
        families=tuple(_families(scores, factors)),
        paired={
            measure: paired_differences(
                scores.values[measure.column],
                scores.models,
                scores.subjects,
                higher_is_better=measure.higher_is_better,
            )
            for measure in MEASURES
        },
    )


def _descriptions(scores: Scores, factors: Factors) -> Iterator[Description]:
    for measure in MEASURES:
        for model, values in zip(scores.models, scores.values[measure.column], strict=True):
            yield _describe(measure, model, ALL, ALL, values)
            for factor in factors.used:
                for level in factor.levels:
                    at_level = values[factor.level_of_scan == level]
                    yield _describe(measure, model, factor.name, level, at_level)


def _describe(
    measure: Measure, model: str, by: str, group: str, values: NDArray[np.float64]
) -> Description:
    valid = _valid(values)
    return Description(
        measure=measure,
        model=model,
        by=by,
        group=group,
        count=len(valid),
        left_out=len(values) - len(valid),
        mean=float(valid.mean()) if len(valid) else math.nan,
        sd=float(valid.std(ddof=1)) if len(valid) > 1 else math.nan,
        median=float(np.median(valid)) if len(valid) else math.nan,
    )


def _families(scores: Scores, factors: Factors) -> Iterator[Family]:
    for measure in MEASURES:
        of_model = dict(zip(scores.models, scores.values[measure.column], strict=True))
        by_model = _family(
            measure, MODEL, "", {name: _valid(row) for name, row in of_model.items()}
        )
        notes = (*by_model.anova.notes, *_other_scans(scores.values[measure.column], scores.models))
        yield replace(by_model, anova=replace(by_model.anova, notes=notes))
        for factor in factors.used:
            for model, values in of_model.items():
                yield _family(measure, factor.name, model, values_by_level(values, factor))


def _family(measure: Measure, by: str, model: str, groups: Groups) -> Family:
    return Family(measure, by, model, anova(groups), t_tests(groups))


def _other_scans(values: NDArray[np.float64], models: Sequence[str]) -> list[str]:
    """Warn if the models have no value in different scans, such as H95 where a mask is empty."""
    undefined = np.isnan(values)
    if (undefined == undefined[0]).all():
        return []
    counts = ", ".join(
        f"{name} in {count}" for name, count in zip(models, undefined.sum(axis=1), strict=True)
    )
    scans = count_noun(values.shape[1], "scan")
    return [f"means are over different scans: of {scans}, there is no value of {counts}"]


def values_by_level(values: NDArray[np.float64], factor: Factor) -> Groups:
    """Return the values (scans,) of each level, without undefined ones."""
    return {level: _valid(values[factor.level_of_scan == level]) for level in factor.levels}


def _valid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[~np.isnan(values)]
