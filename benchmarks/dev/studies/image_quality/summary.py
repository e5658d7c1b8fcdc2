"""Summarize the study as tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.dev.studies.image_quality.study import EXTRACTED, NONE, MeasuredScan, QualityStudy
from wmh_runtime.evaluation.markdown import table

_PHANTOM = "phantom"


def summary_of(study: QualityStudy) -> str:
    """Return the values and flags of clean scans, and the flags by artifact and strength."""
    return "\n\n".join([_clean_table(study.scans), _artifact_table(study.scans)]) + "\n"


def _clean_table(scans: Sequence[MeasuredScan]) -> str:
    """Return for each measure the range of its values in clean scans, and how many are flagged."""
    kinds = {
        "real": [one for one in scans if one.artifact == NONE and not _is_phantom(one)],
        "phantoms": [one for one in scans if one.artifact == NONE and _is_phantom(one)],
        "brain-extracted": [one for one in scans if one.artifact == EXTRACTED],
    }
    rows = [
        [name, *(_range(name, of_kind) for of_kind in kinds.values())] for name in scans[0].values
    ]
    return table(["measure", *kinds], rows, numeric_from=1)


def _range(name: str, scans: Iterable[MeasuredScan]) -> str:
    values = [value for one in scans if (value := one.values[name]) is not None]
    if not values:
        return "not measurable"
    flagged = sum(name in one.flagged for one in scans)
    return f"{min(values):.1f} to {max(values):.1f}; flagged {flagged} of {len(values)}"


def _artifact_table(scans: Sequence[MeasuredScan]) -> str:
    """Return how many scans each measure flags that it does not flag without the artifact."""
    clean = {one.scan: one for one in scans if one.artifact == NONE}
    names = list(scans[0].values)
    rows = []
    for (artifact, strength), of_strength in _by_strength(scans).items():
        flags = [_new_flags(name, of_strength, clean) for name in names]
        any_new = sum(bool(set(one.flagged) - set(clean[one.scan].flagged)) for one in of_strength)
        rows.append([artifact, f"{strength:g}", f"{any_new} of {len(of_strength)}", *flags])
    return table(["artifact", "strength", "any", *names], rows, numeric_from=1)


def _by_strength(
    scans: Iterable[MeasuredScan],
) -> Mapping[tuple[str, float], list[MeasuredScan]]:
    groups: dict[tuple[str, float], list[MeasuredScan]] = {}
    for one in scans:
        if one.artifact not in (NONE, EXTRACTED):
            groups.setdefault((one.artifact, one.strength), []).append(one)
    return groups


def _new_flags(name: str, scans: Iterable[MeasuredScan], clean: Mapping[str, MeasuredScan]) -> str:
    """Return the number of scans flagged now, of those that were measurable and not flagged."""
    able = [
        one for one in scans if one.values[name] is not None and name not in clean[one.scan].flagged
    ]
    flagged = sum(name in one.flagged for one in able)
    return f"{flagged} of {len(able)}" if flagged else "·"


def _is_phantom(one: MeasuredScan) -> bool:
    return one.scan.startswith(_PHANTOM)
