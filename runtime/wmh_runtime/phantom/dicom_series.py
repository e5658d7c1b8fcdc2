"""Write a volume as a classic MR series, to try DICOM services without scans of patients."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.imageio.orientation import RAS_TO_LPS

_BRIGHT_PERCENTILE = 99.5  # is white when a viewer opens the series


@dataclass(frozen=True)
class MrSequence:
    """The parameters of a sequence; times in ms."""

    description: str
    echo_ms: float
    repetition_ms: float
    inversion_ms: float | None
    scanning_sequence: str
    field_tesla: float = 3.0


FLAIR = MrSequence("FLAIR", 120.0, 9000.0, 2500.0, "SE\\IR")
MPRAGE = MrSequence("T1 MPRAGE", 3.0, 2300.0, 900.0, "GR\\IR")


@dataclass(frozen=True)
class Person:
    """Who a series is said to be of, and when."""

    name: str
    id: str
    day: datetime.date
    study_uid: str = field(default_factory=generate_uid)
    frame_of_reference_uid: str = field(default_factory=generate_uid)


def mr_series(
    voxels: NDArray[np.integer[Any]],
    affine: Affine,
    sequence: MrSequence,
    person: Person,
    number: int = 1,
) -> list[Dataset]:
    """Return the images of a series, one for each slice, in the order of the third axis.

    Args:
        voxels: (x, y, z), uint16 or int16. The first axis becomes the columns of each image.
        affine: (4, 4), voxel index to RAS+ mm; its columns are at right angles.
        sequence: that the images are said to be of.
        person: likewise.
        number: of the series.
    """
    to_lps = RAS_TO_LPS @ affine
    spacing_mm = np.linalg.norm(to_lps[:3, :3], axis=0)
    directions = to_lps[:3, :3] / spacing_mm
    series_uid = generate_uid()
    bright = max(float(np.percentile(voxels, _BRIGHT_PERCENTILE)), 1.0)
    shared = {
        "SpecificCharacterSet": "ISO_IR 192",
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "SOPClassUID": MRImageStorage,
        "StudyDate": f"{person.day:%Y%m%d}",
        "SeriesDate": f"{person.day:%Y%m%d}",
        "AcquisitionDate": f"{person.day:%Y%m%d}",
        "StudyTime": "120000",
        "SeriesTime": f"12{number % 60:02d}00",
        "AcquisitionTime": f"12{number % 60:02d}00",
        "AccessionNumber": "",
        "Modality": "MR",
        "Manufacturer": "wmh-lora",
        "ReferringPhysicianName": "",
        "StudyDescription": "Head",
        "SeriesDescription": sequence.description,
        "ManufacturerModelName": "Phantom",
        "PatientName": person.name,
        "PatientID": person.id,
        "PatientBirthDate": "",
        "PatientSex": "O",
        "BodyPartExamined": "HEAD",
        "ScanningSequence": sequence.scanning_sequence.split("\\"),
        "SequenceVariant": "SK",
        "ScanOptions": "",
        "MRAcquisitionType": "2D",
        "SliceThickness": _ds(spacing_mm[2]),
        "RepetitionTime": _ds(sequence.repetition_ms),
        "EchoTime": _ds(sequence.echo_ms),
        "MagneticFieldStrength": _ds(sequence.field_tesla),
        "SpacingBetweenSlices": _ds(spacing_mm[2]),
        "EchoTrainLength": 1,
        "FlipAngle": "90",
        "PatientPosition": "HFS",
        "StudyInstanceUID": person.study_uid,
        "SeriesInstanceUID": series_uid,
        "StudyID": "1",
        "SeriesNumber": number,
        "AcquisitionNumber": 1,
        "ImageOrientationPatient": [*map(_ds, directions[:, 0]), *map(_ds, directions[:, 1])],
        "FrameOfReferenceUID": person.frame_of_reference_uid,
        "PositionReferenceIndicator": "",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": voxels.shape[1],
        "Columns": voxels.shape[0],
        "PixelSpacing": [_ds(spacing_mm[1]), _ds(spacing_mm[0])],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(np.issubdtype(voxels.dtype, np.signedinteger)),
        "WindowCenter": _ds(bright / 2),
        "WindowWidth": _ds(bright),
    }
    if sequence.inversion_ms is not None:
        shared["InversionTime"] = _ds(sequence.inversion_ms)
    return [
        _image(
            shared,
            position_mm=apply_affine(to_lps, (0, 0, index)),
            pixels=voxels[..., index].T,
            number=index + 1,
        )
        for index in range(voxels.shape[2])
    ]


def write_series(images: list[Dataset], folder: Path) -> None:
    """Write the images of a series to a folder, as `0001.dcm` and so on.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images, start=1):
        image.save_as(folder / f"{index:04d}.dcm", enforce_file_format=True)


def _image(
    shared: Mapping[str, Any], position_mm: NDArray[np.float64], pixels: NDArray[Any], number: int
) -> Dataset:
    image = Dataset()
    for keyword, value in shared.items():
        setattr(image, keyword, value)
    image.SOPInstanceUID = generate_uid()
    image.InstanceNumber = number
    image.ImagePositionPatient = list(map(_ds, position_mm))
    image.PixelData = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder("<")).tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def _ds(value: float) -> str:
    """Write a number as DICOM does, in 16 characters at most."""
    return format_number_as_ds(float(value))
