"""A stack: the frames of a series that make one volume, in order, with its position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.dicom.frames import Frame, Vector
from wmh_runtime.dicom.image_type import why_not_acquired
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.imageio.orientation import RAS_TO_LPS
from wmh_runtime.text import count_noun

_MIN_SLICES = 3
_SAME_DIRECTION = 1e-4  # difference of direction cosines; files store six digits and more
_SAME_SPACING = 1e-3  # relative, of pixels
_SAME_PLACE_MM = 0.01
_UNEVEN = 0.02  # of the slice spacing; in files of scanners it differs by far less
_MAX_SHIFT_MM = 0.1  # of a slice against the normal through the first one
_MAIN_SHARE = 0.75  # of the images of a series: then the others are left out
_SEND_ONE = "Give a series that holds one volume only."


@dataclass(frozen=True, eq=False)
class Stack:
    """Parallel slices at even distances, in the order of their normal."""

    frames: tuple[Frame, ...]
    affine: Affine  # (4, 4): column, row from the bottom, slice → RAS+ mm
    warnings: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        return self.frames[0].columns, self.frames[0].rows, len(self.frames)


@dataclass(frozen=True, eq=False)
class _Slice:
    frame: Frame
    position_mm: Vector
    distance_mm: float  # along the normal


def find_stack(
    frames: Sequence[Frame],
    have_same_pixels: Callable[[Frame, Frame], bool],
    *,
    of_any_kind: bool = False,
) -> Stack:
    """Find the frames of a series that make one volume.

    Images of another orientation, size, echo or kind are left out with a warning if they are few.
    So is a second image at the position of another one, if their pixels are equal.

    Args:
        frames: of the series.
        have_same_pixels: returns whether two frames have equal pixels.
        of_any_kind: take images that were not acquired, such as reformatted ones, if there are no
            others.

    Raises:
        InputError: no frames, or several groups of them, make a volume; slices are missing, are
            there twice with other pixels, or are at uneven distances.
    """
    acquired = [one for one in frames if not why_not_acquired(one.image_type)]
    if of_any_kind and not acquired:
        acquired = list(frames)
    main, left_out = _main_group(acquired)
    if others := len(frames) - len(acquired):
        verb = "was" if others == 1 else "were"
        left_out.append(f"{count_noun(others, 'image')} that {verb} not acquired left out")
    slices, repeated = _without_repetitions(_along_normal(main), have_same_pixels)
    if len(slices) < _MIN_SLICES:
        problem = f"has {count_noun(len(slices), 'slice')}, expected {_MIN_SLICES} at least"
        raise InputError(problem, "Give the whole series.")
    _require_one_line(slices)
    _require_even_spacing(slices)
    warnings = (*left_out, *repeated)
    return Stack(tuple(one.frame for one in slices), _affine(slices), warnings)


def _main_group(frames: Sequence[Frame]) -> tuple[list[Frame], list[str]]:
    """Return the largest group of frames that may be slices of one volume, and a warning."""
    groups: list[list[Frame]] = []
    for frame in frames:
        same = next((group for group in groups if _are_alike(group[0], frame)), None)
        if same is None:
            groups.append([frame])
        else:
            same.append(frame)
    main = max(groups, key=len, default=[])
    if not main:
        raise InputError("has no images that were acquired", _SEND_ONE)
    others = len(frames) - len(main)
    if len(main) < _MAIN_SHARE * len(frames):
        counts = sorted(map(len, groups), reverse=True)
        sizes = " and ".join(map(str, counts[:2])) + (" and more" if len(counts) > 2 else "")
        problem = (
            f"has {len(groups)} stacks of images that differ in orientation, size, echo or kind"
            f" (of {sizes} images)"
        )
        raise InputError(problem, _SEND_ONE)
    if any(_has_no_place(frame) for frame in main):
        problem = f"has images without a position in the patient, such as {main[0].name}"
        raise InputError(problem, "Give the series as the scanner sent it.")
    if not others:
        return main, []
    count = count_noun(others, "image")
    return main, [f"{count} of another orientation, size, echo or kind left out of the series"]


def _has_no_place(frame: Frame) -> bool:
    return frame.position_mm is None or frame.directions is None or frame.spacing_mm is None


def _are_alike(one: Frame, other: Frame) -> bool:
    """Return whether two frames may be slices of one volume."""
    if _has_no_place(one) or _has_no_place(other):
        return _has_no_place(one) and _has_no_place(other)
    return (
        (one.rows, one.columns) == (other.rows, other.columns)
        and (one.image_type, one.echo) == (other.image_type, other.echo)
        and one.frame_of_reference == other.frame_of_reference
        and np.allclose(_directions(one), _directions(other), rtol=0, atol=_SAME_DIRECTION)
        and np.allclose(_spacing_mm(one), _spacing_mm(other), rtol=_SAME_SPACING, atol=0)
    )


def _directions(frame: Frame) -> NDArray[np.float64]:
    assert frame.directions is not None
    return frame.directions


def _spacing_mm(frame: Frame) -> tuple[float, float]:
    assert frame.spacing_mm is not None
    return frame.spacing_mm


def _along_normal(frames: Sequence[Frame]) -> list[_Slice]:
    """Return the slices in the order of the normal."""
    normal = np.cross(*_directions(frames[0]))
    length = float(np.linalg.norm(normal))
    if not np.isclose(length, 1, atol=_SAME_DIRECTION):
        problem = "has rows and columns that are not at a right angle"
        raise InputError(problem, "Give the series as the scanner sent it.")
    slices = []
    for frame in frames:
        assert frame.position_mm is not None
        slices.append(_Slice(frame, frame.position_mm, float(frame.position_mm @ normal)))
    return sorted(slices, key=lambda one: one.distance_mm)


def _without_repetitions(
    slices: Sequence[_Slice], have_same_pixels: Callable[[Frame, Frame], bool]
) -> tuple[list[_Slice], list[str]]:
    """Leave out the second of two equal slices at one place."""
    kept: list[_Slice] = []
    for one in slices:
        if not kept or one.distance_mm - kept[-1].distance_mm > _SAME_PLACE_MM:
            kept.append(one)
        elif np.abs(one.position_mm - kept[-1].position_mm).max() > _MAX_SHIFT_MM:
            names = _names(kept[-1], one)
            raise InputError(f"has images beside one another, such as {names}", _SEND_ONE)
        elif not have_same_pixels(kept[-1].frame, one.frame):
            names = _names(kept[-1], one)
            problem = f"has two images at one position with different pixels, such as {names}"
            raise InputError(problem, _SEND_ONE)
    repeated = len(slices) - len(kept)
    if not repeated:
        return kept, []
    return kept, [f"{count_noun(repeated, 'image')} twice in the series, used once"]


def _names(one: _Slice, other: _Slice) -> str:
    """Name two slices in the order of their numbers."""
    frames = sorted((one.frame, other.frame), key=lambda frame: (frame.number or 0, frame.index))
    return " and ".join(frame.name for frame in frames)


def _require_one_line(slices: Sequence[_Slice]) -> None:
    """Refuse slices that are shifted against one another within their planes."""
    first, normal = slices[0], np.cross(*_directions(slices[0].frame))
    for one in slices:
        offset_mm = one.position_mm - first.position_mm
        shift_mm = float(np.linalg.norm(offset_mm - (offset_mm @ normal) * normal))
        if shift_mm > _MAX_SHIFT_MM:
            problem = f"has slices that are shifted sideways, {one.frame.name} by {shift_mm:.1f} mm"
            raise InputError(problem, "Give a series of slices that lie above one another.")


def _require_even_spacing(slices: Sequence[_Slice]) -> None:
    distances_mm = np.array([one.distance_mm for one in slices])
    gaps_mm = np.diff(distances_mm)
    usual_mm = float(np.sort(gaps_mm)[(len(gaps_mm) - 1) // 2])
    widest = int(gaps_mm.argmax())
    missing = np.maximum(np.rint(gaps_mm / usual_mm) - 1, 0).astype(int)
    if missing.sum():
        names = _names(slices[widest], slices[widest + 1])
        problem = (
            f"lacks {count_noun(int(missing.sum()), 'slice')}: slices are {usual_mm:.2f} mm apart,"
            f" but {names} are {gaps_mm[widest]:.2f} mm"
        )
        raise InputError(problem, "Send the whole series again.")
    if np.abs(gaps_mm - usual_mm).max() > _UNEVEN * usual_mm:
        problem = f"has slices at uneven distances, {gaps_mm.min():.2f} to {gaps_mm.max():.2f} mm"
        raise InputError(problem, "Give a series with one distance between slices.")


def _affine(slices: Sequence[_Slice]) -> Affine:
    """Return the affine of a volume whose second axis runs from the last row to the first."""
    first, last = slices[0], slices[-1]
    along_row, along_column = _directions(first.frame)
    between_rows_mm, between_columns_mm = _spacing_mm(first.frame)
    down = along_column * between_rows_mm
    affine = np.eye(4)
    affine[:3, 0] = along_row * between_columns_mm
    affine[:3, 1] = -down
    affine[:3, 2] = (last.position_mm - first.position_mm) / (len(slices) - 1)
    affine[:3, 3] = first.position_mm + down * (first.frame.rows - 1)
    return RAS_TO_LPS @ affine  # it is its own inverse
