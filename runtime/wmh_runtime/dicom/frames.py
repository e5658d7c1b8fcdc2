"""The frames of a DICOM image: where each lies, and how its stored values are scaled.

A classic file has one frame, an enhanced multi-frame file has all frames of a series.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from wmh_runtime.dicom.image_type import why_not_acquired, words_of_image_type

# What is read of each file for its frames.
FRAME_TAGS = (
    "ImageType",
    "InstanceNumber",
    "EchoTime",
    "EchoNumbers",
    "InversionTime",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "RescaleSlope",
    "RescaleIntercept",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
# The functional groups of enhanced MR images that are read, and those of converted classic ones.
_GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "FrameContentSequence",
    "MRImageFrameTypeSequence",
    "MREchoSequence",
    "MRModifierSequence",
    "MRTimingAndRelatedParametersSequence",
    "MRDiffusionSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
)

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame. Coordinates are those of DICOM: mm to the left, to the back, to the head."""

    file: int  # index of its file in the series
    index: int  # in the file, from 0
    number: int | None  # as the scanner counts images; of classic files only
    position_mm: Vector | None  # (3,), center of the first pixel; None: not given
    directions: NDArray[np.float64] | None  # (2, 3): along a row, along a column; None: not given
    spacing_mm: tuple[float, float] | None  # between rows, between columns; None: not given
    frame_of_reference: str  # UID; empty: not given
    rows: int
    columns: int
    image_type: tuple[str, ...]
    echo: tuple[float, ...]  # echo time in ms, or number of the echo
    slope: float
    intercept: float

    @property
    def name(self) -> str:
        """What a message calls the frame."""
        return f"frame {self.index + 1}" if self.number is None else f"image {self.number}"


def read_frames(file: int, dataset: Dataset) -> Iterator[Frame]:
    """Yield the frames of a file.

    Args:
        file: index of the file in its series.
        dataset: its header.

    Raises:
        ValueError: the number of frames is not that of their functional groups.
        Exception: a value has the wrong type; pydicom raises many.
    """
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    expected = int(dataset.get("NumberOfFrames") or 1)
    if len(groups) != expected and not (expected == 1 and not groups):
        raise ValueError("frames without functional groups")
    for index in range(expected):
        yield _frame(file, index, dataset, _parts(dataset, index))


def parts_of_main_frame(dataset: Dataset) -> list[Dataset]:
    """Return the data sets with the attributes of a frame, the most specific one first.

    It is the first frame of the most common acquired kind.
    """
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    parts = [_parts(dataset, index) for index in range(len(groups))] or [[dataset]]
    kinds = [image_type_of(one) for one in parts]
    return parts[kinds.index(main_kind(Counter(kinds)))]


def main_kind(counts: Counter[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the most common image type, of acquired magnitude images if there are any."""
    return max(counts, key=lambda kind: (not why_not_acquired(kind), counts[kind], kind))


def _parts(dataset: Dataset, index: int) -> list[Dataset]:
    """Return the groups of a frame, then those that all frames share, then the data set itself."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        return [dataset]
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    return [*_items(groups[index]), *_items(shared[0]), dataset]


def _items(group: Dataset) -> Iterator[Dataset]:
    """Yield the item of each functional group; each group is a sequence of one item."""
    for name in _GROUPS:
        if value := group.get(name):
            yield value[0]


def _frame(file: int, index: int, dataset: Dataset, parts: Sequence[Dataset]) -> Frame:
    position = value_of(parts, "ImagePositionPatient")
    directions = value_of(parts, "ImageOrientationPatient")
    spacing = value_of(parts, "PixelSpacing")
    is_classic = len(parts) == 1
    number = value_of(parts, "InstanceNumber") if is_classic else None
    echoes = [value_of(parts, name) for name in ("EffectiveEchoTime", "EchoTime", "EchoNumbers")]
    return Frame(
        file=file,
        index=index,
        number=None if number is None else int(number),
        position_mm=None if position is None else np.array(position, float),
        directions=None if directions is None else np.array(directions, float).reshape(2, 3),
        spacing_mm=None if spacing is None else (float(spacing[0]), float(spacing[1])),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID") or ""),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        image_type=image_type_of(parts),
        echo=tuple(float(one) for one in echoes if _is_number(one)),
        slope=_number(value_of(parts, "RescaleSlope"), otherwise=1.0),
        intercept=_number(value_of(parts, "RescaleIntercept"), otherwise=0.0),
    )


def value_of(parts: Sequence[Dataset], keyword: str) -> Any:
    """Return the value of an attribute in the first data set that has one; None if none has."""
    for part in parts:
        value = part.get(keyword)
        if value is not None and value != "":
            return value
    return None


def numbers_of(parts: Sequence[Dataset], *keywords: str) -> tuple[float, ...]:
    """Return the numbers of the first attribute that has any above 0; empty if none has.

    Scanners write 0 for what does not apply.
    """
    for keyword in keywords:
        for part in parts:
            value = part.get(keyword)
            values = (
                value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
            )
            if numbers := tuple(float(one) for one in values if _is_number(one) and one > 0):
                return numbers
    return ()


def image_type_of(parts: Sequence[Dataset]) -> tuple[str, ...]:
    """Return the words of FrameType, or of ImageType if there is none."""
    words = words_of_image_type(value_of(parts, "FrameType"))
    return words or words_of_image_type(value_of(parts, "ImageType"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _number(value: Any, otherwise: float) -> float:
    return float(value) if _is_number(value) else otherwise
