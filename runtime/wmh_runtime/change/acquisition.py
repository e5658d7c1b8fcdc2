"""What the JSON files of a scan say of its acquisition, with the names of BIDS."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wmh_runtime.dataset.bids import DESCRIPTION_NAME, sidecar_of, split_entities
from wmh_runtime.dataset.image_formats import image_stem
from wmh_runtime.files.reading import is_file, read_json_object

_TEXTS = ("Manufacturer", "ManufacturersModelName", "MRAcquisitionType")
_NUMBERS = ("MagneticFieldStrength", "RepetitionTime", "EchoTime", "InversionTime")
_TOLERANCE = 0.05  # relative: a scanner of 3 T may be said to have 2.89 T


@dataclass(frozen=True)
class Acquisition:
    """The parameters that decide the contrast of a scan.

    Attributes:
        texts: by their names in BIDS; of those that are known.
        numbers: likewise; T and s.
        unreadable: JSON files that cannot be read.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    unreadable: tuple[Path, ...] = ()

    def differences(self, other: Acquisition) -> Iterator[str]:
        """Yield the parameters that are known of both and differ: "EchoTime 0.09 and 0.12"."""
        for name, text in self.texts.items():
            if (of_other := other.texts.get(name, text)).casefold() != text.casefold():
                yield f"{name} {text} and {of_other}"
        for name, value in self.numbers.items():
            of_other_value = other.numbers.get(name, value)
            if not math.isclose(value, of_other_value, rel_tol=_TOLERANCE):
                yield f"{name} {value:g} and {of_other_value:g}"


def read_acquisition(scan: Path) -> Acquisition:
    """Read the JSON files of a scan; a parameter that is no text or number is not known."""
    contents = {path: read_json_object(path) for path in acquisition_files(scan)}
    content: dict[str, Any] = {}
    for one in contents.values():
        content |= one or {}
    texts = {name: _text(content[name]) for name in _TEXTS if name in content}
    numbers = {name: _number(content[name]) for name in _NUMBERS if name in content}
    return Acquisition(
        {name: text for name, text in texts.items() if text},
        {name: value for name, value in numbers.items() if value is not None},
        tuple(path for path, one in contents.items() if one is None),
    )


def acquisition_files(scan: Path) -> list[Path]:
    """Return the JSON files of a scan, the one that counts most last.

    In a BIDS data set, other files describe all scans below their folder whose names have their
    suffix and all of their entities: `FLAIR.json` at the top, `sub-1_FLAIR.json` for all runs.
    """
    own, stem = sidecar_of(scan.absolute()), image_stem(scan)
    entities, suffix = split_entities(stem), stem.rpartition("_")[2]
    found = [
        path
        for folder in _folders_of_dataset(scan)
        for path in sorted(folder.glob(f"*{suffix}.json"), key=lambda one: (len(one.name), one))
        if split_entities(path.stem) <= entities and path != own
    ]
    return list(filter(is_file, (*found, own)))


def _folders_of_dataset(scan: Path) -> list[Path]:
    """Return the folders that a scan is in, from the top of its data set on, if it is in one."""
    folders = scan.absolute().parents
    for count, folder in enumerate(folders):
        if is_file(folder / DESCRIPTION_NAME):
            return [folders[index] for index in range(count, -1, -1)]
    return []


def _text(value: Any) -> str:
    is_known = isinstance(value, str | int | float) and not isinstance(value, bool)
    return str(value).strip() if is_known else ""


def _number(value: Any) -> float | None:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
