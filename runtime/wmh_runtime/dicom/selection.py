"""Choose the series of each contrast in a study."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wmh_runtime.dicom.contrast import Contrast, Finding, find_contrast
from wmh_runtime.dicom.frames import parts_of_main_frame, value_of
from wmh_runtime.dicom.series import Series, Study

_AS_FINE = 1.1  # ratio of voxel volumes up to which two series are alike
_MIN_IMAGES = 3


@dataclass(frozen=True, eq=False)
class Choice:
    """A series that was chosen."""

    series: Series
    reason: str  # in words
    warnings: tuple[str, ...] = ()
    of_any_kind: bool = False  # it was asked for: images that were not acquired are taken, too


@dataclass(frozen=True, eq=False)
class Selection:
    """The series of a study."""

    chosen: Mapping[Contrast, Choice]
    others: Sequence[tuple[Series, str]]  # that are not used, with the reason


def select_series(study: Study, contrasts: Sequence[Contrast], wanted: str = "") -> Selection:
    """Choose one series for each contrast.

    Of several series, the one with the fewest doubts is taken, then that with the smallest voxels,
    then the one that was acquired last, with a warning.

    Args:
        study: to choose from.
        contrasts: to look for; the first one is that of `wanted`.
        wanted: number or UID of a series, or a pattern such as `*FLAIR*` for its description.
            Empty: the parameters of the sequences decide.
    """
    found = {series: _examine(series) for series in study.series}
    chosen: dict[Contrast, Choice] = {}
    for contrast in contrasts:
        is_first = contrast == contrasts[0]
        if wanted and is_first:
            candidates = _wanted_series(study, wanted, contrast, found)
        else:
            taken = [choice.series for choice in chosen.values()]
            candidates = [one for one in study.series if found[one].contrast == contrast]
            candidates = [one for one in candidates if one not in taken]
        if candidates:
            chosen[contrast] = _choose(
                candidates, contrast, found, is_wanted=is_first and bool(wanted)
            )
    used = {choice.series for choice in chosen.values()}
    others = [(one, _why_not(found[one], chosen)) for one in study.series if one not in used]
    return Selection(chosen, others)


def matches(series: Series, wanted: str) -> bool:
    """Return whether a series has a number or a UID, or a description of a pattern."""
    if wanted.isdecimal():
        return series.number == int(wanted)
    return series.uid == wanted or fnmatch.fnmatch(series.description.lower(), wanted.lower())


def _wanted_series(
    study: Study, wanted: str, contrast: Contrast, found: Mapping[Series, Finding]
) -> list[Series]:
    """Return the series that were asked for: those of the contrast, or else the largest one."""
    candidates = [one for one in study.series if one.is_mr and matches(one, wanted)]
    of_contrast = [one for one in candidates if found[one].contrast == contrast]
    return of_contrast or sorted(candidates, key=_count_images)[-1:]


def _count_images(series: Series) -> int:
    frames = series.head.get("NumberOfFrames")
    return max(len(series.files), int(frames) if isinstance(frames, int) else 1)


def _examine(series: Series) -> Finding:
    try:
        found = find_contrast(series)
        count = _count_images(series)
    except Exception as error:  # pydicom raises many types for a value that breaks the rules
        return Finding(None, f"its header cannot be read ({type(error).__name__})")
    if found.contrast and count < _MIN_IMAGES:
        return Finding(None, f"has {count} of the 3 images that are needed at least")
    return found


def _choose(
    candidates: Sequence[Series],
    contrast: Contrast,
    found: Mapping[Series, Finding],
    *,
    is_wanted: bool,
) -> Choice:
    label = contrast.upper()
    fewest = min(len(found[one].doubts) for one in candidates)
    best = [one for one in candidates if len(found[one].doubts) == fewest]
    volumes_mm3 = {one: _voxel_mm3(one) for one in best}
    smallest_mm3 = min(volumes_mm3.values())
    alike = [one for one in best if volumes_mm3[one] <= _AS_FINE * smallest_mm3]
    series = max(alike, key=lambda one: (one.started, one.number or 0))
    reason = found[series].reason
    warnings = [f"{series.name}: {doubt}" for doubt in found[series].doubts]
    if is_wanted and found[series].contrast != contrast:
        warnings.append(f"{series.name} was asked for, but is no {label}: {reason}")
    if len(best) > len(alike):
        reason += f"; smallest voxels of {len(best)} {label} series"
    if len(alike) > 1:
        names = ", ".join(one.name for one in alike)
        warnings.append(
            f"{len(alike)} {label} series are alike ({names}): {series.name} was taken, which was"
            " acquired last"
        )
    return Choice(series, reason, tuple(warnings), of_any_kind=is_wanted)


def _why_not(found: Finding, chosen: Mapping[Contrast, Choice]) -> str:
    if found.contrast is None:
        return found.reason
    choice = chosen.get(found.contrast)
    if choice is None:
        return f"{found.contrast.upper()}, which is not needed"
    doubts = f" ({'; '.join(found.doubts)})" if found.doubts else ""
    return f"{found.contrast.upper()}, but {choice.series.name} was taken{doubts}"


def _voxel_mm3(series: Series) -> float:
    """Return the volume of a voxel as the first header says it; infinity: not given."""
    try:
        parts = parts_of_main_frame(series.head)
        pixel = value_of(parts, "PixelSpacing")
        distance = value_of(parts, "SpacingBetweenSlices") or value_of(parts, "SliceThickness")
        return float(pixel[0]) * float(pixel[1]) * abs(float(distance))
    except Exception:  # pydicom raises many types for a value that breaks the rules
        return math.inf
