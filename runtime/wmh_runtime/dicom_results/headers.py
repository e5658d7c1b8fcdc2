"""Headers of source images that results can be made from: complete, and without invalid values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import generate_uid

from wmh_runtime.errors import InputError

# Attributes that a result must have, if only empty. Anonymized files often lack them.
_REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_DATES = ("PatientBirthDate", "StudyDate", "SeriesDate", "ContentDate", "AcquisitionDate")
_TIMES = ("StudyTime", "SeriesTime", "ContentTime", "AcquisitionTime")
_FRACTION = re.compile(r"\.\d{1,6}$")  # of a second
_DATE_FORMATS = {8: "%Y%m%d"}  # by the number of digits
_TIME_FORMATS = {2: "%H", 4: "%H%M", 6: "%H%M%S"}
_SEXES = ("M", "F", "O", "")


def repaired_header(header: FileDataset, slice_mm: float) -> Dataset:
    """Return a header with every attribute that results copy or need.

    What is missing becomes empty, and so does a date, a time or a sex that breaks the rules: a
    result with such a value would not be stored by an archive. A frame of reference that is missing
    is made from the UID of the series.

    Args:
        header: of a file, whole; it is changed.
        slice_mm: distance between slices, if the header has no thickness.

    Raises:
        InputError: the texts cannot be read, as their character set is not known.
    """
    for name in _REQUIRED:
        if name not in header:
            setattr(header, name, "")
    _remove_invalid(header, _DATES, _DATE_FORMATS)
    _remove_invalid(header, _TIMES, _TIME_FORMATS)
    if str(header.PatientSex) not in _SEXES:
        header.PatientSex = ""
    if not header.get("SliceThickness") and not header.get("PerFrameFunctionalGroupsSequence"):
        header.SliceThickness = slice_mm
    if not header.get("FrameOfReferenceUID"):
        header.FrameOfReferenceUID = generate_uid(entropy_srcs=[str(header.SeriesInstanceUID)])
    try:
        header.decode()
    except Exception as error:  # pydicom raises many types for a character set it does not know
        problem = "has texts in a character set that cannot be read (SpecificCharacterSet)"
        raise InputError(problem, "Give the series as the scanner sent it.") from error
    return header


def _remove_invalid(header: Dataset, names: Sequence[str], formats: Mapping[int, str]) -> None:
    for name in names:
        value = _FRACTION.sub("", str(header.get(name) or "").strip())
        if value and not _is_valid(value, formats):
            setattr(header, name, "")


def _is_valid(value: str, formats: Mapping[int, str]) -> bool:
    """Return whether a date or a time exists, such as neither 00000000 nor 256199."""
    try:
        datetime.strptime(value, formats.get(len(value), ""))
    except ValueError:
        return False
    return value.isdecimal()
