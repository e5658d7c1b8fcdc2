"""What DICOM results have in common: the images they are of, their series, and their UIDs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from wmh_runtime.dicom.scan_files import SeriesVolume, errors_of
from wmh_runtime.dicom_results import codes
from wmh_runtime.dicom_results.headers import repaired_header
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.orientation import RAS_TO_LPS
from wmh_runtime.imageio.read_errors import read_errors
from wmh_runtime.outputs.sidecar import Sidecar

PROGRAM = "wmh-lora"
RESEARCH_USE = "research use only"
_LARGEST_INTEGER = 2**31 - 1  # of a text of digits in DICOM


@dataclass(frozen=True, eq=False)
class Source:
    """The images that a result is of.

    Attributes:
        volume: of the series.
        headers: of its files, whole, in the order of the slices.
        sidecar: of the result.
        index: of its output among those of the model.
    """

    volume: SeriesVolume
    headers: Sequence[Dataset]
    sidecar: Sidecar
    index: int = 0

    @property
    def head(self) -> Dataset:
        """The header of the first file."""
        return self.headers[0]

    @property
    def output(self) -> str:
        """Name of the output in texts, such as `WMH`."""
        return self.sidecar.settings.output.name.upper()

    @property
    def tracking(self) -> tuple[str, str]:
        """UID and name of the lesions of the series, the same in all results of it."""
        name = f"{self.output} lesions"
        return self.uid("tracking", name), name

    def uid(self, *facts: object) -> str:
        """Return a UID that follows from patient, series, program, output and facts."""
        head = self.head
        of_source = (head.PatientID, head.StudyInstanceUID, head.SeriesInstanceUID)
        return _uid(*of_source, version(PROGRAM), self.output, *facts)

    @property
    def images_text(self) -> str:
        """Which images the result is of."""
        frames = self.volume.stack.frames
        return f"Of {len(frames)} slices of {self.volume.images.series.name}"

    @property
    def device_uid(self) -> str:
        """UID of this program with this model."""
        return _uid("device", PROGRAM, version(PROGRAM), self.sidecar.settings.model_id)

    @property
    def settings_text(self) -> str:
        """Model, threshold and smallest lesion, in one line."""
        settings = self.sidecar.settings
        return (
            f"model {settings.bundle} {settings.model_id}, threshold {settings.output.threshold:g},"
            f" minimum lesion size {settings.output.min_lesion_mm3:g} mm3"
        )

    def series(self, kind: str, offset: int, content: str = "") -> dict[str, Any]:
        """Return the identity of a result: its series, UIDs and number, and who made it.

        The UIDs follow from the content: a result that is made again has the same ones, so that a
        PACS does not store it twice, and one that differs has others.

        Args:
            kind: of the result, such as `report`.
            offset: of the number of its series, 1 to 9.
            content: hash of a file that it is made from, besides the sidecar.
        """
        facts = (kind, self._content, content)
        return {
            "series_instance_uid": self.uid("series", *facts),
            "sop_instance_uid": self.uid("instance", *facts),
            "series_number": self._series_number(offset),
            "instance_number": 1,
            "manufacturer": PROGRAM,
            "manufacturer_model_name": self.sidecar.settings.bundle,
            "software_versions": version(PROGRAM),
            "device_serial_number": self.sidecar.settings.model_id,
        }

    @property
    def _content(self) -> str:
        """What a result says, without what differs in each run."""
        return self.sidecar.model_dump_json(exclude={"seconds", "versions"})

    def _series_number(self, offset: int) -> int:
        """Return a number near that of the source, if DICOM allows so large a one."""
        own = 10 * self.index + offset
        number = 1000 * (self.volume.images.series.number or 9) + own
        return number if 0 < number <= _LARGEST_INTEGER else 9000 + own

    @property
    def algorithm(self) -> hd.AlgorithmIdentificationSequence:
        """Name, version and settings of what made the mask."""
        settings = self.sidecar.settings
        return hd.AlgorithmIdentificationSequence(
            name=PROGRAM,
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=version(PROGRAM),
            source=f"{PROGRAM}, {RESEARCH_USE}",
            parameters={
                "model": settings.bundle,
                "model_id": settings.model_id,
                "threshold": f"{settings.output.threshold:g}",
                "min_lesion_mm3": f"{settings.output.min_lesion_mm3:g}",
                "test_time_augmentation": settings.tta,
                "precision": settings.precision,
            },
        )

    def volume_of(self, image: Path) -> hd.Volume:
        """Read an image on the grid of the scan as a volume of frames, rows and columns.

        Raises:
            InputError: the file cannot be read.
        """
        with read_errors(image):
            voxels = np.asanyarray(nib.load(image).dataobj)
        stack = self.volume.stack
        columns, up, slices, origin = stack.affine.T @ RAS_TO_LPS
        affine = np.eye(4)
        normal = np.cross(columns[:3], up[:3])
        normal /= np.linalg.norm(normal)
        # Slices that a file places a little beside one another lie above one another in a result.
        affine[:3, 0] = (slices[:3] @ normal) * normal
        affine[:3, 1], affine[:3, 2] = -up[:3], columns[:3]
        affine[:3, 3] = origin[:3] + up[:3] * (stack.shape[1] - 1)
        return hd.Volume(
            _frames_from_voxels(voxels),
            affine,
            coordinate_system="PATIENT",
            frame_of_reference_uid=self.head.FrameOfReferenceUID,
        )


def read_headers(volume: SeriesVolume) -> list[Dataset]:
    """Read the whole headers of the files of a volume, and repair them.

    Raises:
        InputError: a file cannot be read any more, or no result can be made of it.
    """
    series = volume.images.series
    slice_mm = float(np.linalg.norm(volume.stack.affine[:3, 2]))
    files = list(dict.fromkeys(frame.file for frame in volume.stack.frames))
    try:
        headers = [series.files[file].read() for file in files]
    except Exception as error:  # pydicom raises many types
        problem = f"{series.name} cannot be read any more"
        raise InputError(problem, "Give the DICOM files again.") from error
    with errors_of(series):
        return [repaired_header(header, slice_mm) for header in headers]


def _uid(*facts: object) -> str:
    """Return a UID that follows from facts."""
    return str(generate_uid(entropy_srcs=list(map(str, facts))))


def _frames_from_voxels(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return (columns, rows from the bottom, slices) as (slices, rows from the top, columns)."""
    return np.ascontiguousarray(voxels[:, ::-1].transpose(2, 1, 0))
