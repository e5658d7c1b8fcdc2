"""Convert a DICOM series to a NIfTI file, with a JSON file of its acquisition as in BIDS."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from wmh_runtime.dataset.bids import sidecar_of
from wmh_runtime.dicom.frames import Frame, numbers_of, parts_of_main_frame, value_of
from wmh_runtime.dicom.pixels import PixelReader, read_voxels
from wmh_runtime.dicom.selection import Choice
from wmh_runtime.dicom.series import Series, SeriesImages, read_images
from wmh_runtime.dicom.stack import Stack, find_stack
from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import remove, write_json_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.reading import is_file, read_json_object
from wmh_runtime.imageio.nifti_writer import write_generated
from wmh_runtime.text import count_noun

# Names of BIDS, with the keywords of DICOM.
_TEXTS = {
    "Manufacturer": "Manufacturer",
    "ManufacturersModelName": "ManufacturerModelName",
    "MRAcquisitionType": "MRAcquisitionType",
}
_NUMBERS = {
    "MagneticFieldStrength": ("MagneticFieldStrength",),
    "FlipAngle": ("FlipAngle",),
    "SliceThickness": ("SliceThickness",),
}
_TIMES = {  # ms in DICOM, s in BIDS
    "RepetitionTime": ("RepetitionTime",),
    "EchoTime": ("EffectiveEchoTime", "EchoTime"),
    "InversionTime": ("InversionTime", "InversionTimes"),
}
_LOSSY = "01"
_DIGEST, _WARNINGS = "SeriesDigest", "ConversionWarnings"
_VERSION = 1  # of the conversion: increase it if a scan comes out differently


@dataclass(frozen=True, eq=False)
class SeriesVolume:
    """The volume of a series: which frames make it."""

    images: SeriesImages
    stack: Stack
    warnings: tuple[str, ...]


def open_volume(series: Series, *, of_any_kind: bool = False) -> tuple[SeriesVolume, PixelReader]:
    """Find the volume in a series, and what reads its pixels.

    Args:
        series: with the files.
        of_any_kind: also take images that were not acquired, such as reformatted ones.

    Raises:
        InputError: the series is no volume, or a file cannot be read.
    """
    try:
        images = read_images(series)
        frames = images.frames()
    except Exception as error:  # pydicom raises many types, with values of the header
        problem = f"{series.name} has a header that cannot be read ({type(error).__name__})"
        raise InputError(problem, "Send the series again.") from error
    pixels = PixelReader(images)
    with errors_of(series):
        stack = find_stack(frames, pixels.have_same_pixels, of_any_kind=of_any_kind)
    warnings = (*stack.warnings, *_remarks(series.head, stack.frames))
    return SeriesVolume(images, stack, tuple(f"{series.name}: {line}" for line in warnings)), pixels


def convert(choice: Choice, path: Path, digest: Callable[[str], str]) -> tuple[str, ...]:
    """Write a series as a NIfTI file, unless it is there already; return the warnings about it.

    The order of the voxels is that of dcm2niix: along the rows, up the columns, along the normal.

    Args:
        choice: with the series.
        path: of the NIfTI file; the JSON file has the same name.
        digest: hash of a text, to recognize the series without its UIDs.

    Raises:
        InputError: the series is no volume, or a file cannot be read or written.
    """
    series, described = choice.series, sidecar_of(path)
    try:
        key = digest("\n".join([f"{choice.of_any_kind}", *_facts(series)]))
    except (OSError, KeyError) as error:  # a file, or a member of an archive
        problem = f"{series.name} cannot be read any more"
        raise InputError(problem, "Give the DICOM files again.") from error
    known = read_json_object(described) or {}
    if known.get(_DIGEST) == key and is_file(path):
        return (*choice.warnings, *map(str, known.get(_WARNINGS, ())))
    volume, pixels = open_volume(series, of_any_kind=choice.of_any_kind)
    with errors_of(series):
        voxels = read_voxels(volume.stack, pixels)
    make_folder(path.parent)
    remove(described)  # while it is there, it is of this scan
    write_generated(voxels, volume.stack.affine, path)
    content = {**_acquisition(series.head), _DIGEST: key, _WARNINGS: list(volume.warnings)}
    write_json_atomically(described, content)
    return (*choice.warnings, *volume.warnings)


@contextmanager
def errors_of(series: Series) -> Iterator[None]:
    """Add the name of the series to an error."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{series.name} {error.problem}", error.remedy) from error


def _facts(series: Series) -> Iterable[str]:
    """Yield what changes if other images are in the series."""
    yield f"{_VERSION} {series.study_uid} {series.uid}"
    yield from sorted(series.image_uids)
    yield from sorted(f"{file.size_bytes} {file.changed_s}" for file in series.files)


def _remarks(head: Dataset, frames: Sequence[Frame]) -> Iterator[str]:
    """Yield what may spoil a measurement: lossy compression, and slices missing at the ends."""
    if head.get("LossyImageCompression") == _LOSSY:
        yield "its images were compressed with loss"
    expected = head.get("ImagesInAcquisition")
    numbers = [frame.number for frame in frames if frame.number is not None]
    if isinstance(expected, int) and len(frames) < expected:
        yield f"has {count_noun(len(frames), 'slice')}, but the scanner acquired {expected}"
    elif numbers and min(numbers) > 1:
        yield f"its images are numbered from {min(numbers)} on: slices may be missing"
    elif len({*numbers}) == len(frames) and max(numbers) - min(numbers) >= len(frames):
        yield "there are gaps between the numbers of its images: slices may be missing"


def _acquisition(head: Dataset) -> dict[str, Any]:
    """Return what is known of the acquisition, with the names of BIDS."""
    parts = parts_of_main_frame(head)
    texts = {name: value_of(parts, keyword) for name, keyword in _TEXTS.items()}
    numbers = {name: numbers_of(parts, *keywords) for name, keywords in _NUMBERS.items()}
    times = {name: numbers_of(parts, *keywords) for name, keywords in _TIMES.items()}
    return {
        **{name: str(value) for name, value in texts.items() if value is not None},
        **{name: values[0] for name, values in numbers.items() if values},
        **{name: values[0] / 1000 for name, values in times.items() if values},
    }
