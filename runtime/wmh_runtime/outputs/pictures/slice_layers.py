"""Pictures of a few slices of a scan, in layers that a page can show and hide.

They are made when a scan is segmented, because only then voxels, probability and regions are in
memory. The slices are among those of the quality-control image, and have the same numbers. Each
layer is a WebP image in base64: the slice in gray, and transparent images to lay over it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor
from pydantic import Field

from wmh_runtime.figures.frame import Frame, find_frame
from wmh_runtime.figures.probability_color import color_of_probability
from wmh_runtime.figures.slice_overlay import (
    OUTLINE_COLOR,
    gray_from_intensities,
    lesion_outline,
    outline,
    stretch_mask,
)
from wmh_runtime.figures.slice_selection import select_slices, slices_with_most_lesion
from wmh_runtime.figures.window import Window, find_window
from wmh_runtime.files.reading import read_model
from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.pictures.qc_page import COLUMNS, OUTLINED_REGIONS, REGION_COLORS, ROWS
from wmh_runtime.postprocessing.postprocess import OutputResult
from wmh_runtime.schema import StrictModel
from wmh_runtime.types import Floats, Mask

SLICES = 6
MAX_WIDTH_PX, MAX_HEIGHT_PX = 336, 416  # of a slice; six of them take about 100 kB
THUMBNAIL_WIDTH_PX = 72
_GRAY_QUALITY = 72  # of WebP; grain of the scan is still visible
_THUMBNAIL_QUALITY = 60
_PROBABILITY_QUALITY = 60
_METHOD = 4  # effort of WebP; 6 takes twice the time for 3 % less


class RegionLegend(StrictModel):
    """A region that is outlined."""

    name: str
    color: str


class SliceLayers(StrictModel):
    """One slice, in layers of the same size. Each is a WebP image in base64."""

    number: int = Field(ge=1, description="counted from 1 at the most inferior")
    lesion_mm2: float = Field(description="area of the lesions in this slice")
    image: str = Field(description="gray")
    lesions: str = Field(description="outlines; empty: no lesion in this slice")
    probability: str = Field(description="in color; empty: no probability above the smallest shown")
    regions: str = Field(description="outlines; empty: none in this slice")


class SlicePictures(StrictModel):
    """Slices of one output of a scan."""

    schema_version: Literal[1] = 1
    mask_sha256: str = Field(description="of the mask file that they show")
    slice_count: int = Field(description="of the scan")
    width_px: int
    height_px: int
    regions: list[RegionLegend] = Field(description="that are outlined")
    thumbnail: str = Field(description="slice with the most lesion, with outline; WebP in base64")
    slices: list[SliceLayers] = Field(description="the most inferior first")


def slice_pictures(
    scan: Scan,
    head: Mask,
    result: OutputResult,
    regions: Mapping[str, Mask],
    mask_sha256: str,
) -> SlicePictures:
    """Draw a few slices of one output of a scan.

    Args:
        scan: that was segmented.
        head: (x, y, z); if it is empty, all slices may be shown.
        result: of the output.
        regions: (x, y, z), by name; those of the quality-control image are outlined.
        mask_sha256: of the mask file.
    """
    to_display = axial_reorientation(scan.affine)
    row_mm, column_mm = (scan.spacing_mm[axis] for axis in to_display.axes[1:])
    slices, labels = to_display.apply(scan.voxels), to_display.apply(result.lesions.labels)
    shown_head = to_display.apply(head)
    shown_head = shown_head if head.any() else np.ones_like(shown_head)
    indices = _select(shown_head, labels)
    lesions = labels[indices] > 0
    frame = find_frame(shown_head[indices], lesions)
    shape_px = _shape_px(frame, (row_mm, column_mm))
    outlined = {
        name: to_display.apply(regions[name])[indices]
        for name in OUTLINED_REGIONS
        if name in regions
    }
    drawing = _Drawing(find_window(slices, shown_head), frame, shape_px)
    probability = to_display.apply(result.probability)
    return SlicePictures(
        mask_sha256=mask_sha256,
        slice_count=len(slices),
        width_px=shape_px[1],
        height_px=shape_px[0],
        regions=[
            RegionLegend(name=OUTLINED_REGIONS[name], color=color)
            for name, color in zip(outlined, REGION_COLORS, strict=False)
        ],
        thumbnail=drawing.thumbnail(*_most_lesion(slices[indices], lesions)),
        slices=[
            SliceLayers(
                number=index + 1,
                lesion_mm2=round(np.count_nonzero(lesions[place]) * row_mm * column_mm, 1),
                image=drawing.gray(slices[index]),
                lesions=drawing.lesions(lesions[place]),
                probability=drawing.probability(probability[index]),
                regions=drawing.regions([one[place] for one in outlined.values()]),
            )
            for place, index in enumerate(indices)
        ],
    )


def read_slice_pictures(path: Path, mask_sha256: str) -> SlicePictures | None:
    """Return the pictures in a file; None if there are none of this version that show this mask."""
    pictures = read_model(path, SlicePictures)
    return pictures if pictures and pictures.mask_sha256 == mask_sha256 else None


def _select(head: Mask, labels: NDArray[np.unsignedinteger]) -> list[int]:
    """Select slices from those of the quality-control image."""
    shown = select_slices(head, labels, COLUMNS * ROWS)
    return [shown[place] for place in select_slices(head[shown], labels[shown], SLICES)]


def _most_lesion(slices: Floats, lesions: Mask) -> tuple[Floats, Mask]:
    """Return the slice with the most lesion and its lesions; without any, the middle one."""
    most, *_ = slices_with_most_lesion(lesions, 1) or [len(slices) // 2]
    return slices[most], lesions[most]


def _shape_px(frame: Frame, pixel_mm: tuple[float, float]) -> tuple[int, int]:
    """Return the largest (height, width) in pixels that fits and has the proportions in mm."""
    height_mm, width_mm = frame.shape[0] * pixel_mm[0], frame.shape[1] * pixel_mm[1]
    px_per_mm = min(MAX_WIDTH_PX / width_mm, MAX_HEIGHT_PX / height_mm)
    return max(1, round(height_mm * px_per_mm)), max(1, round(width_mm * px_per_mm))


class _Drawing:
    """Draws the layers of slices (rows, cols) in one frame, window and size."""

    def __init__(self, window: Window, frame: Frame, shape_px: tuple[int, int]) -> None:
        self._window = window
        self._frame = frame
        self._shape_px = shape_px

    def gray(self, intensities: Floats) -> str:
        return _webp(self._gray(intensities), quality=_GRAY_QUALITY)

    def lesions(self, mask: Mask) -> str:
        if not mask.any():
            return ""
        canvas = self._canvas()
        canvas[lesion_outline(self._stretched(mask))] = _rgba(OUTLINE_COLOR)
        return _webp(Image.fromarray(canvas), lossless=True)

    def regions(self, masks: list[Mask]) -> str:
        if not any(mask.any() for mask in masks):
            return ""
        canvas = self._canvas()
        for mask, color in zip(masks, REGION_COLORS, strict=False):
            canvas[outline(self._stretched(mask))] = _rgba(color)
        return _webp(Image.fromarray(canvas), lossless=True)

    def probability(self, probability: Floats) -> str:
        colors = color_of_probability(self._frame.crop(probability, fill=0.0))
        if not colors[..., 3].any():
            return ""
        height, width = self._shape_px
        image = Image.fromarray(colors).resize((width, height), Image.Resampling.NEAREST)
        return _webp(image, quality=_PROBABILITY_QUALITY)

    def thumbnail(self, intensities: Floats, mask: Mask) -> str:
        gray = np.array(self._gray(intensities).convert("RGB"))
        gray[lesion_outline(self._stretched(mask))] = ImageColor.getrgb(OUTLINE_COLOR)
        height = max(1, round(THUMBNAIL_WIDTH_PX * self._shape_px[0] / self._shape_px[1]))
        size = (THUMBNAIL_WIDTH_PX, height)
        image = Image.fromarray(gray).resize(size, Image.Resampling.LANCZOS)
        return _webp(image, quality=_THUMBNAIL_QUALITY)

    def _gray(self, intensities: Floats) -> Image.Image:
        cropped = self._frame.crop(intensities, fill=self._window.low)
        height, width = self._shape_px
        gray = Image.fromarray(gray_from_intensities(cropped, self._window))
        return gray.resize((width, height), Image.Resampling.BICUBIC)

    def _stretched(self, mask: Mask) -> Mask:
        return stretch_mask(self._frame.crop(mask, fill=False), self._shape_px)

    def _canvas(self) -> NDArray[np.uint8]:
        return np.zeros((*self._shape_px, 4), np.uint8)


def _rgba(color: str) -> tuple[int, ...]:
    return (*ImageColor.getrgb(color), 255)


def _webp(image: Image.Image, *, quality: int = 80, lossless: bool = False) -> str:
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", quality=quality, lossless=lossless, method=_METHOD)
    return base64.b64encode(encoded.getvalue()).decode("ascii")
