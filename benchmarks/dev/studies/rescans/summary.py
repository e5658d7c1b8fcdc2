"""Summarize what was found in pairs of scans, without and with true changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from pydantic import Field

from benchmarks.dev.studies.rescans.heads import SCENARIOS
from benchmarks.dev.studies.rescans.measure import FoundLesion, PairRecord, TrueLesion
from wmh_bench.environment import source_commit
from wmh_bench.machine import Machine, describe_machine
from wmh_runtime.change.measure import current_rules
from wmh_runtime.change.record import RulesRecord
from wmh_runtime.change.rules import (
    ONE_PROTOCOL,
    RELATIVE_CHANGE,
    TWO_PROTOCOLS,
    Boundary,
    ChangeClass,
    classify,
)
from wmh_runtime.schema import StrictModel

_PERCENTILES = (50, 90, 95)
_SIZES_MM3 = (0, 10, 30, 100, np.inf)  # limits of the groups of true changes
_GROWTH: tuple[ChangeClass, ...] = ("new", "enlarging")
_LOSS: tuple[ChangeClass, ...] = ("resolved", "shrinking")
_CHANGES: Mapping[str, ChangeClass] = {"added": "new", "removed": "resolved", "grown": "enlarging"}


class RescanSummary(StrictModel):
    """Pairs of scans of heads without any change, in one scenario."""

    heads: str = Field(description="phantom or synthetic")
    scenario: str = Field(description="what differs between both scans")
    pairs: int
    lesions: int = Field(description="found in both scans of a pair")
    boundary_mm: dict[str, float] = Field(
        description="difference of both volumes / larger surface, by percentile of the lesions"
    )
    unmatched_mm3: dict[str, float] = Field(
        description="volume of what was found in one scan only, by percentile"
    )
    unmatched_per_pair: float
    false_classes_per_pair: dict[ChangeClass, float] = Field(
        description="by the rules of this version"
    )
    mean_ml: float
    sd_ml: float = Field(description="standard deviation of the difference of the volumes")
    sd_percent: float = Field(description="of the difference, relative to the mean of both")
    total_boundary_mm: float = Field(
        description="difference of all lesions / their surface: the largest of the pairs"
    )
    within_uncertainty: float = Field(description="share of pairs whose difference is within it")
    largest_disagreement_mm: float = Field(description="of both directions of a registration")
    lowest_similarity: float


class SensitivitySummary(StrictModel):
    """True changes of one kind and size."""

    heads: str
    change: str = Field(description="added, removed, grown")
    at_least_mm3: float
    below_mm3: float | None = Field(description="null: any")
    lesions: int
    seen: int = Field(description="found in at least one of both scans, whatever the class")
    same_class: int = Field(description="found as new, resolved, enlarging")
    same_direction: int = Field(description="found as growth, or as loss")


class RescanStudy(StrictModel):
    """The whole study."""

    commit: str = Field(description="of this project")
    machine: Machine
    rules: RulesRecord
    rescans: list[RescanSummary]
    sensitivity: list[SensitivitySummary]


def summarize(records: Mapping[str, Sequence[PairRecord]]) -> RescanStudy:
    """Summarize all pairs, by kind of head."""
    return RescanStudy(
        commit=source_commit(),
        machine=describe_machine(),
        rules=current_rules(),
        rescans=[
            _summarize(heads, scenario, [one for one in of_kind if one.scenario == scenario])
            for heads, of_kind in records.items()
            for scenario in SCENARIOS
            if scenario != "changed"
        ],
        sensitivity=[one for heads, of_kind in records.items() for one in _found(heads, of_kind)],
    )


def _summarize(heads: str, scenario: str, pairs: Sequence[PairRecord]) -> RescanSummary:
    lesions = [one for pair in pairs for one in pair.found]
    both = [one for one in lesions if min(one.before_mm3, one.after_mm3) > 0]
    alone = [one for one in lesions if min(one.before_mm3, one.after_mm3) == 0]
    counts = Counter(_class_of(one, _boundary(pair)) for pair in pairs for one in pair.found)
    volumes_ml = np.array([pair.volumes_ml for pair in pairs])
    differences_ml = volumes_ml[:, 1] - volumes_ml[:, 0]
    means_ml = volumes_ml.mean(axis=1)
    surfaces_mm2 = np.array([_surface_mm2(pair) for pair in pairs])
    limits_ml = np.array([_boundary(pair).total_ml(_surface_mm2(pair)) for pair in pairs])
    return RescanSummary(
        heads=heads,
        scenario=scenario,
        pairs=len(pairs),
        lesions=len(both),
        boundary_mm=_percentiles(_boundary_mm(one) for one in both),
        unmatched_mm3=_percentiles(max(one.before_mm3, one.after_mm3) for one in alone),
        unmatched_per_pair=round(len(alone) / len(pairs), 2),
        false_classes_per_pair={
            name: round(counts[name] / len(pairs), 2) for name in (*_GROWTH, *_LOSS)
        },
        mean_ml=round(float(means_ml.mean()), 2),
        sd_ml=round(float(np.sqrt(np.mean(differences_ml**2))), 3),
        sd_percent=round(float(100 * np.sqrt(np.mean((differences_ml / means_ml) ** 2))), 1),
        total_boundary_mm=round(float(np.max(1000 * abs(differences_ml) / surfaces_mm2)), 3),
        within_uncertainty=round(float(np.mean(abs(differences_ml) <= limits_ml)), 3),
        largest_disagreement_mm=round(max(pair.disagreement_mm for pair in pairs), 2),
        lowest_similarity=round(min(pair.similarity for pair in pairs), 3),
    )


def _found(heads: str, records: Sequence[PairRecord]) -> Iterator[SensitivitySummary]:
    """Count the true changes that are found, by kind and size."""
    for change, expected in _CHANGES.items():
        for low_mm3, high_mm3 in pairwise(_SIZES_MM3):
            found = [
                {_class_of(pair.found[index], _boundary(pair)) for index in true.found}
                for pair in records
                for true in pair.true
                if _kind(true) == change
                and low_mm3 <= abs(true.after_mm3 - true.before_mm3) < high_mm3
            ]
            direction = _LOSS if change == "removed" else _GROWTH
            yield SensitivitySummary(
                heads=heads,
                change=change,
                at_least_mm3=low_mm3,
                below_mm3=None if np.isinf(high_mm3) else high_mm3,
                lesions=len(found),
                seen=sum(map(bool, found)),
                same_class=sum(expected in classes for classes in found),
                same_direction=sum(bool(classes & {*direction}) for classes in found),
            )


def _kind(true: TrueLesion) -> str:
    if true.before_mm3 == 0:
        return "added"
    if true.after_mm3 == 0:
        return "removed"
    return "grown" if true.after_mm3 > (1 + RELATIVE_CHANGE) * true.before_mm3 else "other"


def _boundary(pair: PairRecord) -> Boundary:
    return ONE_PROTOCOL if pair.is_one_protocol else TWO_PROTOCOLS


def _class_of(lesion: FoundLesion, boundary: Boundary) -> ChangeClass:
    surface_mm2 = max(lesion.before_mm2, lesion.after_mm2)
    uncertainty_mm3 = boundary.lesion_mm3(surface_mm2)
    return classify(lesion.before_mm3, lesion.after_mm3, uncertainty_mm3, lesion.shared_level)


def _boundary_mm(lesion: FoundLesion) -> float:
    difference_mm3 = abs(lesion.after_mm3 - lesion.before_mm3)
    return difference_mm3 / max(lesion.before_mm2, lesion.after_mm2)


def _surface_mm2(pair: PairRecord) -> float:
    return max(
        sum(one.before_mm2 for one in pair.found), sum(one.after_mm2 for one in pair.found), 1.0
    )


def _percentiles(values: Iterable[float]) -> dict[str, float]:
    found = list(values)
    return {
        str(percent): round(float(np.percentile(found, percent)), 3)
        for percent in (_PERCENTILES if found else ())
    }
