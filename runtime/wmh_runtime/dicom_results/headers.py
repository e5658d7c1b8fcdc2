"""Headers of source images that results can be made from: complete, and without invalid values."""

from __future__ import annotations

import re

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
_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_SEXES = ("M", "F", "O", "")


def mended_header(header: FileDataset, slice_mm: float) -> Dataset:
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
    _remove_invalid(header, _DATES, _DATE)
    _remove_invalid(header, _TIMES, _TIME)
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


def _remove_invalid(header: Dataset, names: tuple[str, ...], rule: re.Pattern[str]) -> None:
    for name in names:
        value = str(header.get(name) or "")
        if value and not rule.fullmatch(value.strip()):
            setattr(header, name, "")
