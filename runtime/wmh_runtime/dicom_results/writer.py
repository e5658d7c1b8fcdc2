"""Write the DICOM results of a scan, from its other results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from wmh_runtime.dicom.scan_files import SeriesVolume
from wmh_runtime.dicom_results.picture import secondary_capture
from wmh_runtime.dicom_results.report import measurement_report
from wmh_runtime.dicom_results.segmentation import mask_segmentation, probability_segmentation
from wmh_runtime.dicom_results.source import Source, read_headers
from wmh_runtime.errors import InputError
from wmh_runtime.files.atomic import atomic_path
from wmh_runtime.outputs.paths import OutputPaths
from wmh_runtime.outputs.sidecar import Sidecar


def write_dicom_results(
    volume: SeriesVolume, sidecars: Sequence[Sidecar], paths: Sequence[OutputPaths]
) -> None:
    """Write segmentation, report and picture of each output, and the probability if it is there.

    Args:
        volume: of the series that was segmented.
        sidecars: of the results, for each output.
        paths: likewise.

    Raises:
        InputError: a file cannot be read or written.
    """
    headers = read_headers(volume)
    for index, (sidecar, to) in enumerate(zip(sidecars, paths, strict=True)):
        source = Source(volume, headers, sidecar, index)
        try:
            _write_results_of(source, to)
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            # The library refuses a value of the images; its text may hold that value.
            problem = (
                f"{volume.images.series.name} has attributes that a DICOM result cannot be made of"
                f" ({type(error).__name__})"
            )
            raise InputError(problem, "Give the series as the scanner sent it.") from error


def _write_results_of(source: Source, to: OutputPaths) -> None:
    segmentation = mask_segmentation(source, to.mask)
    _write(segmentation, to.dicom.segmentation)
    _write(secondary_capture(source, to.picture), to.dicom.picture)
    if to.probability.is_file():
        _write(probability_segmentation(source, to.probability), to.dicom.probability)
    _write(measurement_report(source, segmentation), to.dicom.report)  # the last one


def _write(dataset: Dataset, to: Path) -> None:
    with atomic_path(to) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
