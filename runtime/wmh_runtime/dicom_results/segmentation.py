"""Lesions as a DICOM Segmentation: the mask, or the probability."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import highdicom as hd
import numpy as np

from wmh_runtime.dicom_results import codes
from wmh_runtime.dicom_results.source import PROGRAM, RESEARCH_USE, Source
from wmh_runtime.files.hashing import sha256_file

_RED = (255, 60, 40)  # in viewers that follow what a segmentation recommends
_MAX_FRACTION = 255  # of a probability map: 1.0
_MASK_SERIES, _PROBABILITY_SERIES = 1, 4


def mask_segmentation(source: Source, mask: Path) -> hd.seg.Segmentation:
    """Return the lesion mask as a binary segmentation. An empty mask has frames, too.

    Args:
        source: of the result.
        mask: its file, on the grid of the scan.

    Raises:
        InputError: the file cannot be read.
    """
    volume = source.volume_of(mask)
    lesions = volume.with_array((volume.array > 0).astype(np.uint8))
    return _segmentation(source, lesions, "BINARY", source.series("mask", _MASK_SERIES))


def probability_segmentation(source: Source, probability: Path) -> hd.seg.Segmentation:
    """Return the probability of lesion as a fractional segmentation, in steps of 1/255.

    Args:
        source: of the result.
        probability: its file, on the grid of the scan, 0 to 1.

    Raises:
        InputError: the file cannot be read.
    """
    volume = source.volume_of(probability)
    shares = volume.with_array(np.clip(volume.array.astype(np.float32), 0, 1))
    series = source.series("probability", _PROBABILITY_SERIES, sha256_file(probability))
    return _segmentation(source, shares, "FRACTIONAL", series)


def _segmentation(
    source: Source,
    volume: hd.Volume,
    kind: Literal["BINARY", "FRACTIONAL"],
    series: Mapping[str, Any],
) -> hd.seg.Segmentation:
    output = source.output
    tracking_uid, tracking_id = source.tracking
    what = "mask" if kind == "BINARY" else "probability"
    is_corrected = source.sidecar.manual is not None
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=f"{output} {what}",
        segmented_property_category=codes.ABNORMAL_STRUCTURE,
        segmented_property_type=codes.type_of_output(source.sidecar.settings.output.name),
        algorithm_type="SEMIAUTOMATIC" if is_corrected else "AUTOMATIC",
        algorithm_identification=source.algorithm,
        tracking_uid=tracking_uid,
        tracking_id=tracking_id,
        anatomic_regions=[codes.WHITE_MATTER],
        display_color=hd.color.CIELabColor.from_rgb(*_RED),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a mask is empty: then all frames are written
        return hd.seg.Segmentation(
            source_images=source.headers,
            pixel_array=volume,
            segmentation_type=kind,
            segment_descriptions=[segment],
            max_fractional_value=_MAX_FRACTION,
            content_label=output,
            content_description=f"{output} {what}, {RESEARCH_USE}",
            content_creator_name=f"{PROGRAM}^",  # a family name
            series_description=f"{output} {what} ({RESEARCH_USE})",
            **series,
        )
