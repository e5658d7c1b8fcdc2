"""The quality-control image as a Secondary Capture, for viewers that show nothing else."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from PIL import Image

from wmh_runtime.dicom_results.source import RESEARCH_USE, Source
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.imageio.read_errors import read_errors

_PICTURE_SERIES = 3


def secondary_capture(source: Source, picture: Path) -> hd.sc.SCImage:
    """Return a picture as a color image.

    Args:
        source: of the result.
        picture: PNG file.

    Raises:
        InputError: the file cannot be read.
    """
    with read_errors(picture), Image.open(picture) as image:
        pixels = np.array(image.convert("RGB"))
    series = source.series("picture", _PICTURE_SERIES, sha256_file(picture))
    capture = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=source.head,
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        series_description=f"{source.output} picture ({RESEARCH_USE})",
        **series,
    )
    capture.BodyPartExamined = source.head.get("BodyPartExamined") or "BRAIN"
    capture.BurnedInAnnotation = "NO"  # that identifies the patient
    return capture
