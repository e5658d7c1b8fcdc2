"""Figures of a cohort from those of its cases: averages with intervals, agreement of volumes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.evaluation.metrics import MaskMetrics

AVERAGED = (
    *("dice", "h95_mm", "avd_percent", "lesion_recall", "lesion_f1"),  # the challenge's five
    *("lesion_precision", "precision", "recall", "iou"),
)
# Name → mL that it ends below. Spreadsheets take "2-5" for a date.
LOAD_BANDS = {"under 2": 2, "2 to 5": 5, "5 to 15": 15, "15 to 30": 30, "30 and more": math.inf}
UNKNOWN_SITE = "unknown"

_RESAMPLES = 2000
_SEED = 0
_INTERVAL_PERCENTILES = (2.5, 97.5)
_LIMITS_SD = 1.96  # 95 % of a normal distribution lie within


@dataclass(frozen=True)
class Case:
    """One scan's mask and how good it is."""

    name: str
    person: str
    site: str  # "" where it is not known
    metrics: MaskMetrics

    @property
    def load_band(self) -> str:
        """Name of the band that the reference's volume is in."""
        return load_band(self.metrics.reference_ml)


@dataclass(frozen=True)
class Average:
    """One metric over several cases; NaN where no case has a value."""

    mean: float
    median: float
    low: float  # 95 % confidence interval of the mean; NaN for fewer than two persons
    high: float
    counted: int
    left_out: int  # cases where the metric has no value, NaN


@dataclass(frozen=True)
class VolumeAgreement:
    """How well predicted volumes agree with those of the references. Units: mL."""

    r_squared: float
    pearson_r: float
    bias_ml: float
    lower_limit_ml: float
    upper_limit_ml: float


@dataclass(frozen=True)
class Group:
    """The figures of cases that have something in common."""

    name: str
    count: int
    averages: dict[str, Average]  # metric, as in AVERAGED → average
    volumes: VolumeAgreement


@dataclass(frozen=True)
class Evaluation:
    """All figures of a cohort."""

    overall: Group
    by_site: tuple[Group, ...]  # in the order of names; empty where no case has a site
    by_band: tuple[Group, ...]  # from small to large, bands without a case left out

    @property
    def volumes(self) -> VolumeAgreement:
        """The agreement of all volumes."""
        return self.overall.volumes


def evaluate(cases: Sequence[Case]) -> Evaluation:
    """Sum up at least one case."""
    sites = sorted({case.site for case in cases} - {""})
    unknown = [""] if sites and any(not case.site for case in cases) else []
    return Evaluation(
        overall=_group("all", cases),
        by_site=_groups(cases, [*sites, *unknown], lambda case: case.site),
        by_band=_groups(cases, list(LOAD_BANDS), lambda case: case.load_band),
    )


def load_band(volume_ml: float) -> str:
    """Name the band of a lesion load; one on the border is in the higher."""
    return next(name for name, below_ml in LOAD_BANDS.items() if volume_ml < below_ml)


def average(values: NDArray[np.float64], persons: Sequence[str]) -> Average:
    """Average a metric; NaN is left out and counted.

    Args:
        values: (n,).
        persons: (n,), whom each value is of.
    """
    has_value = ~np.isnan(values)
    counted = values[has_value]
    if not len(counted):
        return Average(math.nan, math.nan, math.nan, math.nan, 0, len(values))
    low, high = bootstrap_interval(counted, np.asarray(persons)[has_value])
    mean, median = float(counted.mean()), float(np.median(counted))
    return Average(mean, median, low, high, len(counted), len(values) - len(counted))


def bootstrap_interval(
    values: NDArray[np.float64], persons: Sequence[str] | NDArray[np.str_]
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean (Efron 1979).

    Persons are drawn with replacement and all scans of a person with them, since scans of one
    person are alike. 2000 draws of a fixed seed: the same values give the same interval.

    Args:
        values: (n,), without NaN.
        persons: (n,), whom each value is of.

    Returns:
        Lower and upper end; NaN for fewer than two persons.
    """
    _, places = np.unique(persons, return_inverse=True)
    sums, counts = np.bincount(places, values), np.bincount(places)
    if len(counts) < 2:
        return math.nan, math.nan
    draws = np.random.default_rng(_SEED).integers(len(counts), size=(_RESAMPLES, len(counts)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.percentile(means, _INTERVAL_PERCENTILES)
    return float(low), float(high)


def volume_agreement(
    predicted_ml: NDArray[np.float64], true_ml: NDArray[np.float64]
) -> VolumeAgreement:
    """Measure how well volumes agree.

    `r_squared` is 1 − Σ(true − predicted)² / Σ(true − mean of true)²: how much of the spread of
    the true volumes the predicted ones account for as they are, on the line of identity, not on
    one fitted to them. A bias lowers it, and it may be negative. Pearson's r does not see a bias.
    Bias is the mean of predicted − true; the limits of agreement are bias ± 1.96 standard
    deviations of these differences (Bland and Altman 1986, doi 10.1016/S0140-6736(86)90837-8).

    Args:
        predicted_ml: (n,).
        true_ml: (n,).

    Returns:
        NaN for what has no value: the limits of one case, a correlation of equal volumes.
    """
    differences_ml = predicted_ml - true_ml
    bias_ml = float(differences_ml.mean())
    half_width_ml = _LIMITS_SD * float(differences_ml.std(ddof=1)) if len(true_ml) > 1 else math.nan
    r_squared = pearson_r = math.nan
    if np.ptp(true_ml) > 0:
        spread = float(((true_ml - true_ml.mean()) ** 2).sum())
        r_squared = 1 - float((differences_ml**2).sum()) / spread
        if np.ptp(predicted_ml) > 0:
            pearson_r = float(np.corrcoef(predicted_ml, true_ml)[0, 1])
    return VolumeAgreement(
        r_squared=r_squared,
        pearson_r=pearson_r,
        bias_ml=bias_ml,
        lower_limit_ml=bias_ml - half_width_ml,
        upper_limit_ml=bias_ml + half_width_ml,
    )


def _groups(
    cases: Sequence[Case], names: Sequence[str], name_of: Callable[[Case], str]
) -> tuple[Group, ...]:
    """Return a group for each name that a case has, in the order of the names."""
    members = {name: [case for case in cases if name_of(case) == name] for name in names}
    return tuple(_group(name or UNKNOWN_SITE, some) for name, some in members.items() if some)


def _group(name: str, cases: Sequence[Case]) -> Group:
    def values(metric: str) -> NDArray[np.float64]:
        return np.array([getattr(case.metrics, metric) for case in cases], float)

    persons = [case.person for case in cases]
    return Group(
        name=name,
        count=len(cases),
        averages={metric: average(values(metric), persons) for metric in AVERAGED},
        volumes=volume_agreement(values("prediction_ml"), values("reference_ml")),
    )
