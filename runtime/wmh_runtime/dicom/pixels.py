"""The pixels of a series."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from wmh_runtime.dicom.frames import Frame
from wmh_runtime.dicom.series import SeriesImages
from wmh_runtime.dicom.stack import Stack
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_header import MAX_VOXELS

_GRAY = "MONOCHROME2"
_SEND_AGAIN = "Send the series again, not compressed."


class PixelReader:
    """Reads frames of a series. The file that was read last is kept in memory.

    Args:
        images: of the series.
    """

    def __init__(self, images: SeriesImages) -> None:
        self._images = images
        self._last: tuple[int, NDArray[np.generic]] | None = None

    def read(self, frame: Frame) -> NDArray[np.generic]:
        """Return the stored values of a frame, (rows, columns), of an integer type.

        Raises:
            InputError: they cannot be read or decoded, or are no gray values.
        """
        pixels = self._pixels_of_file(frame)
        if pixels.ndim == 3 and frame.index < len(pixels):
            pixels = pixels[frame.index]
        if pixels.shape != (frame.rows, frame.columns):
            found = f"has pixels of shape {pixels.shape} in {frame.name}"
            raise InputError(f"{found}, expected {(frame.rows, frame.columns)}", _SEND_AGAIN)
        return pixels

    def have_same_pixels(self, one: Frame, other: Frame) -> bool:
        """Return whether two frames have equal stored values and scaling."""
        scaling = (one.slope, one.intercept) == (other.slope, other.intercept)
        return scaling and np.array_equal(self.read(one), self.read(other))

    def _pixels_of_file(self, frame: Frame) -> NDArray[np.generic]:
        if self._last is not None and self._last[0] == frame.file:
            return self._last[1]
        header = self._images.headers[frame.file]
        kind = header.get("PhotometricInterpretation")
        if kind != _GRAY or header.get("ModalityLUTSequence"):
            found = "a table of values" if kind == _GRAY else str(kind)
            problem = f"is stored as {found} ({frame.name}), expected {_GRAY}"
            raise InputError(problem, "Give the series as the scanner sent it.")
        dataset = None
        try:
            dataset = self._images.series.files[frame.file].read(with_pixels=True)
            pixels: NDArray[np.generic] = dataset.pixel_array
        except Exception as error:  # pydicom and its decoders raise many types
            # Not its text, which may hold values of the header.
            reason = f"{_transfer_syntax(dataset)}, {type(error).__name__}"
            problem = f"has pixels that cannot be decoded, of {frame.name} ({reason})"
            raise InputError(problem, _SEND_AGAIN) from error
        self._last = frame.file, pixels
        return pixels


def read_voxels(stack: Stack, pixels: PixelReader) -> NDArray[np.generic]:
    """Read the voxels of a stack.

    Args:
        stack: of a series.
        pixels: of the same series.

    Returns:
        (columns, rows from the bottom, slices): stored values if they are not scaled, else float32.

    Raises:
        InputError: a frame cannot be read, or there are too many voxels.
    """
    if math.prod(stack.shape) > MAX_VOXELS:
        problem = f"has {math.prod(stack.shape)} voxels, expected {MAX_VOXELS} at most"
        raise InputError(problem, "Give another series.")
    slices = [_scaled(pixels.read(frame), frame) for frame in stack.frames]
    return _stacked(slices)


def _transfer_syntax(dataset: FileDataset | None) -> str:
    """Return the name of the transfer syntax of a file, as far as it could be read."""
    if dataset is None:
        return "not readable"
    return str(dataset.file_meta.get("TransferSyntaxUID", UID("")).name) or "not known"


def _scaled(stored: NDArray[np.generic], frame: Frame) -> NDArray[np.generic]:
    if (frame.slope, frame.intercept) == (1.0, 0.0):
        return stored
    return (stored.astype(np.float64) * frame.slope + frame.intercept).astype(np.float32)


def _stacked(slices: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    """Stack slices, (rows, columns) from the top, as (columns, rows from the bottom, slices)."""
    volume = np.stack(slices, axis=-1)
    return np.asfortranarray(volume[::-1].transpose(1, 0, 2))
