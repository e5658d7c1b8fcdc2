"""Statistics of a cohort: averages with confidence intervals, and agreement of volumes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.evaluation.metrics import MaskMetrics
from wmh_runtime.postprocessing.load_bands import LOAD_BANDS, load_band

AVERAGED = (
    *("dice", "h95_mm", "avd_percent", "lesion_recall", "lesion_f1"),  # the five of the challenge
    *("lesion_precision", "precision", "recall", "iou"),
)
UNKNOWN_SITE = "unknown"

_RESAMPLES = 2000
_SEED = 0
_INTERVAL_PERCENTILES = (2.5, 97.5)
_LIMITS_SD = 1.96  # contains 95 % of a normal distribution


@dataclass(frozen=True)
class ScoredCase:
    """A scan with the metrics of its mask."""

    name: str
    subject: str
    site: str  # "" if unknown
    metrics: MaskMetrics

    @property
    def load_band(self) -> str:
        """Name of the band of the reference volume."""
        return load_band(self.metrics.reference_ml)


@dataclass(frozen=True)
class Average:
    """Average of one metric; NaN if no case has a value."""

    mean: float
    median: float
    low: float  # 95 % confidence interval of the mean; NaN with fewer than two subjects
    high: float
    with_value: int  # number of cases
    without_value: int  # cases in which the metric is NaN; not averaged


@dataclass(frozen=True)
class VolumeAgreement:
    """Agreement of predicted volumes with reference volumes."""

    r_squared: float
    pearson_r: float
    bias_ml: float
    lower_limit_ml: float
    upper_limit_ml: float


@dataclass(frozen=True)
class Group:
    """Statistics of a group of cases."""

    name: str
    count: int
    averages: dict[str, Average]  # metric from AVERAGED → average
    volumes: VolumeAgreement


@dataclass(frozen=True)
class Evaluation:
    """All statistics of a cohort."""

    overall: Group
    by_site: tuple[Group, ...]  # sorted by name; empty if no case has a site
    by_band: tuple[Group, ...]  # from small to large, without empty bands

    @property
    def volumes(self) -> VolumeAgreement:
        """Agreement of volumes of all cases."""
        return self.overall.volumes


def evaluate(cases: Sequence[ScoredCase]) -> Evaluation:
    """Compute the statistics of at least one case."""
    sites = sorted({case.site for case in cases} - {""})
    unknown = [""] if sites and any(not case.site for case in cases) else []
    return Evaluation(
        overall=_group("all", cases),
        by_site=_groups(cases, [*sites, *unknown], lambda case: case.site),
        by_band=_groups(cases, list(LOAD_BANDS), lambda case: case.load_band),
    )


def average(values: NDArray[np.float64], subjects: Sequence[str]) -> Average:
    """Average a metric over the cases with a value (not NaN).

    Args:
        values: (n,).
        subjects: (n,), the subject of each value.
    """
    has_value = ~np.isnan(values)
    valid = values[has_value]
    if not len(valid):
        return Average(math.nan, math.nan, math.nan, math.nan, 0, len(values))
    low, high = bootstrap_interval(valid, np.asarray(subjects)[has_value])
    mean, median = float(valid.mean()), float(np.median(valid))
    return Average(mean, median, low, high, len(valid), len(values) - len(valid))


def bootstrap_interval(
    values: NDArray[np.float64], subjects: Sequence[str] | NDArray[np.str_]
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean (Efron 1979).

    Subjects are drawn with replacement, each with all its scans, because scans of the same subject
    are not independent. There are 2000 draws with a fixed seed: the same values give the same
    interval.

    Args:
        values: (n,), without NaN.
        subjects: (n,), the subject of each value.

    Returns:
        Lower and upper limit; NaN with fewer than two subjects.
    """
    _, indices = np.unique(subjects, return_inverse=True)
    sums, counts = np.bincount(indices, values), np.bincount(indices)
    if len(counts) < 2:
        return math.nan, math.nan
    draws = np.random.default_rng(_SEED).integers(len(counts), size=(_RESAMPLES, len(counts)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.percentile(means, _INTERVAL_PERCENTILES)
    return float(low), float(high)


def volume_agreement(
    predicted_ml: NDArray[np.float64], true_ml: NDArray[np.float64]
) -> VolumeAgreement:
    """Compute the agreement of predicted and true volumes.

    `r_squared` is 1 − Σ(true − predicted)² / Σ(true − mean of true)². It refers to the line of
    identity, not to a fitted line: a bias lowers it, and it can be negative. Pearson's r does not
    depend on a bias. The bias is the mean of predicted − true. The limits of agreement are bias
    ± 1.96 standard deviations of these differences (Bland and Altman 1986, doi
    10.1016/S0140-6736(86)90837-8).

    Args:
        predicted_ml: (n,).
        true_ml: (n,).

    Returns:
        Undefined values are NaN: limits of a single case, correlation of equal volumes.
    """
    differences_ml = predicted_ml - true_ml
    bias_ml = float(differences_ml.mean())
    half_width_ml = _LIMITS_SD * float(differences_ml.std(ddof=1)) if len(true_ml) > 1 else math.nan
    true_spread, predicted_spread = _spread(true_ml), _spread(predicted_ml)
    r_squared = pearson_r = math.nan
    if true_spread > 0:
        r_squared = 1 - float((differences_ml**2).sum()) / true_spread
        if predicted_spread > 0:
            pearson_r = float(np.corrcoef(predicted_ml, true_ml)[0, 1])
    return VolumeAgreement(
        r_squared=r_squared,
        pearson_r=pearson_r,
        bias_ml=bias_ml,
        lower_limit_ml=bias_ml - half_width_ml,
        upper_limit_ml=bias_ml + half_width_ml,
    )


def _spread(volumes_ml: NDArray[np.float64]) -> float:
    """Return the sum of squared deviations from the mean; 0.0 if all volumes are equal."""
    return float(((volumes_ml - volumes_ml.mean()) ** 2).sum()) if np.ptp(volumes_ml) > 0 else 0.0


def _groups(
    cases: Sequence[ScoredCase], names: Sequence[str], name_of: Callable[[ScoredCase], str]
) -> tuple[Group, ...]:
    """Return a group for each name that occurs, in the order of the names."""
    cases_of = {name: [case for case in cases if name_of(case) == name] for name in names}
    return tuple(_group(name or UNKNOWN_SITE, group) for name, group in cases_of.items() if group)


def _group(name: str, cases: Sequence[ScoredCase]) -> Group:
    def values(metric: str) -> NDArray[np.float64]:
        return np.array([getattr(case.metrics, metric) for case in cases], float)

    subjects = [case.subject for case in cases]
    return Group(
        name=name,
        count=len(cases),
        averages={metric: average(values(metric), subjects) for metric in AVERAGED},
        volumes=volume_agreement(values("prediction_ml"), values("reference_ml")),
    )
