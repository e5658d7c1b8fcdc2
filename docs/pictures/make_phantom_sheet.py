"""Draw docs/pictures/phantoms.jpg: three made-up heads, each without and with its lesion mask.

.venv/bin/python docs/pictures/make_phantom_sheet.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from wmh_runtime.figures.slice_overlay import draw_slice
from wmh_runtime.figures.window import find_window
from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.phantom.head import generate_phantom
from wmh_runtime.preprocessing.head_mask import find_head

HEADS = (("utrecht", 41, 6.0), ("singapore", 42, 18.0), ("amsterdam", 43, 40.0))
BELOW_TOP_MM = (115, 92, 76, 64, 52, 38)  # depth of the slices below the top of the head
CELL_MM = (216, 176)
CELL_PX = (324, 264)
GAP_PX = 4


def main() -> None:
    """Draw one pair of rows a head: the scan, and the scan with its mask outlined."""
    rows = []
    for site, seed, load_ml in HEADS:
        phantom = generate_phantom(seed, site, load_ml)
        to_display = axial_reorientation(phantom.affine)
        stack = np.ascontiguousarray(to_display.apply(phantom.image)).astype(np.float32)
        lesions = to_display.apply(phantom.lesions).astype(bool)
        spacing_mm = np.linalg.norm(phantom.affine[:3, :3], axis=0)[list(to_display.axes)]
        head = find_head(stack, float(np.prod(spacing_mm))).mask
        window = find_window(stack, head)
        held = np.flatnonzero(head.any(axis=(1, 2)))
        shown = [int(held[-1] - round(depth_mm / spacing_mm[0])) for depth_mm in BELOW_TOP_MM]
        crop = tuple(
            _around_middle(head.any(axis=(0, 2 - axis)), mm, spacing_mm[1 + axis])
            for axis, mm in enumerate(CELL_MM)
        )
        for masks in (np.zeros_like(lesions), lesions):
            cells = [draw_slice(stack[i][crop], masks[i][crop], window, CELL_PX) for i in shown]
            rows.append(np.concatenate([_padded(cell) for cell in cells], axis=1))
    Image.fromarray(np.concatenate(rows)).save(Path(__file__).with_name("phantoms.jpg"), quality=88)


def _around_middle(held: np.ndarray, length_mm: float, spacing_mm: float) -> slice:
    """Return a stretch of pixels of the given length around the middle of those that are held."""
    places = np.flatnonzero(held)
    middle, half = int(places[0] + places[-1]) // 2, round(length_mm / 2 / spacing_mm)
    return slice(max(0, middle - half), middle + half)


def _padded(cell: np.ndarray) -> np.ndarray:
    return np.pad(cell, ((0, GAP_PX), (0, GAP_PX), (0, 0)))


if __name__ == "__main__":
    main()
