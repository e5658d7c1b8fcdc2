"""Studies and their series, from the headers of DICOM files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from wmh_runtime.dicom.files import DicomFile
from wmh_runtime.dicom.frames import FRAME_TAGS, Frame, image_type_of, main_kind, read_frames

MR_IMAGES = (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
_SERIES_TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
    "StudyDate",
    "StudyTime",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "SeriesNumber",
    "SeriesDescription",
    "ProtocolName",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "MagneticFieldStrength",
    "ScanningSequence",
    "EchoPulseSequence",
    "InversionRecovery",
    "InversionTimes",
    "MRAcquisitionType",
    "RepetitionTime",
    "FlipAngle",
    "SliceThickness",
    "SpacingBetweenSlices",
    "ContrastBolusAgent",
    "BodyPartExamined",
    "DiffusionBValue",
    "ModalityLUTSequence",
    "PhotometricInterpretation",
    "ImagesInAcquisition",
    "LossyImageCompression",
)
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_SURVEY_TAGS = (*_SERIES_TAGS, *FRAME_TAGS)


@dataclass(frozen=True, eq=False)
class Series:
    """The files of one series, in the order in which they were found."""

    files: list[DicomFile] = field(default_factory=list)
    image_uids: set[str] = field(default_factory=set)
    heads: dict[tuple[str, ...], Dataset] = field(default_factory=dict)  # one of each image type
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)  # files of each image type

    @property
    def head(self) -> Dataset:
        """A header of the most common image type: the order of the files does not decide."""
        return self.heads[main_kind(self.counts)]

    def add(self, file: DicomFile, header: Dataset) -> None:
        """Add a file, unless its image is there already.

        Raises:
            Exception: its header is damaged; pydicom raises many types.
        """
        image = _text(header.get("SOPInstanceUID"))
        if image not in self.image_uids:
            kind = image_type_of([header])
            if kind not in self.heads:
                header.walk(lambda *_: None)  # decodes all of it
                self.heads[kind] = header
            self.counts[kind] += 1
            self.image_uids.add(image)
            self.files.append(file)

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return _text(self.head.get("SeriesInstanceUID"))

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID."""
        return _text(self.head.get("StudyInstanceUID"))

    @property
    def number(self) -> int | None:
        """SeriesNumber; None: not given."""
        value = self.head.get("SeriesNumber")
        return int(value) if isinstance(value, int) else None

    @property
    def description(self) -> str:
        """SeriesDescription, or ProtocolName: free texts, which may hold anything."""
        return _text(self.head.get("SeriesDescription")) or _text(self.head.get("ProtocolName"))

    @property
    def started(self) -> tuple[str, str]:
        """Date and time of the series, as DICOM writes them; they sort in order of time."""
        dates = (self.head.get(name) for name in ("AcquisitionDate", "SeriesDate", "StudyDate"))
        times = (self.head.get(name) for name in ("AcquisitionTime", "SeriesTime", "StudyTime"))
        return next(filter(None, map(_text, dates)), ""), next(filter(None, map(_text, times)), "")

    @property
    def name(self) -> str:
        """What a message calls the series."""
        return "the series without number" if self.number is None else f"series {self.number}"

    @property
    def is_mr(self) -> bool:
        """Whether the files are MR images with values that can be measured."""
        return self.head.get("SOPClassUID") in MR_IMAGES


@dataclass(frozen=True, eq=False)
class SeriesImages:
    """A series with the headers of all its files."""

    series: Series
    headers: tuple[Dataset, ...]  # as many as files

    def frames(self) -> list[Frame]:
        """Return the frames of all files.

        Raises:
            Exception: a value has the wrong type; pydicom raises many.
        """
        return [
            frame for file, header in enumerate(self.headers) for frame in read_frames(file, header)
        ]


def read_images(series: Series) -> SeriesImages:
    """Read the headers of all files of a series.

    Raises:
        Exception: a file cannot be read; pydicom raises many.
    """
    return SeriesImages(series, tuple(file.read(_SURVEY_TAGS) for file in series.files))


@dataclass(frozen=True, eq=False)
class Study:
    """The series of one study, in the order of their numbers."""

    series: tuple[Series, ...]


@dataclass(frozen=True)
class Survey:
    """What a folder holds."""

    studies: tuple[Study, ...]  # in the order in which they were found
    damaged: tuple[DicomFile, ...] = ()  # DICOM files that cannot be read


def survey(files: Iterable[DicomFile]) -> Survey:
    """Read the headers of files, and sort them into studies and series by their UIDs.

    Of several files with one image, the first one is taken.
    """
    found: dict[tuple[str, ...], Series] = defaultdict(Series)
    damaged: list[DicomFile] = []
    for file in files:
        try:
            header = file.read(_SURVEY_TAGS)
            uids = tuple(_text(header.get(name)) for name in _UIDS)  # decoded only now
            if all(uids):  # of different patients with the same UIDs, each has a study
                found[_text(header.get("PatientID")), *uids[:2]].add(file, header)
            elif header.preamble and not _is_table_of_contents(header):
                damaged.append(file)
        except InvalidDicomError:
            continue
        except Exception:  # pydicom raises many types for a damaged file
            damaged.append(file)
    filled = {key: series for key, series in found.items() if series.files}
    return Survey(_studies(filled), tuple(damaged))


def _is_table_of_contents(header: FileDataset) -> bool:
    """Return whether a file is the DICOMDIR of a disc."""
    return header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage


def _studies(found: Mapping[tuple[str, ...], Series]) -> tuple[Study, ...]:
    by_study: dict[tuple[str, ...], list[Series]] = defaultdict(list)
    for (patient, study, _), series in found.items():
        by_study[patient, study].append(series)
    return tuple(Study(tuple(_in_order(series))) for series in by_study.values())


def _in_order(series: Sequence[Series]) -> list[Series]:
    return sorted(series, key=lambda one: (one.number is None, one.number or 0, one.uid))


def _text(value: Any) -> str:
    return "" if value is None else str(value)
