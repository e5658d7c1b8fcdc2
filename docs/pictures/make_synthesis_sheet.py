"""Draw docs/pictures/synthesis.jpg: synthetic heads above, real scans below, in the same window.

.venv/bin/python docs/pictures/make_synthesis_sheet.py SYNTHETIC_SCANS REAL_SCANS

The second argument names scans whose license allows it. Only slices above the eyes are drawn.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from wmh_runtime.dataset.discovery import discover
from wmh_runtime.figures.slice_overlay import draw_slice
from wmh_runtime.figures.window import find_window
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.preprocessing.head_mask import find_head

COLUMNS = 7
BELOW_TOP_MM = (48, 62)  # depth of the slices below the top of the head
CELL_MM = (212, 172)
CELL_PX = (212, 172)
GAP_PX = 3


def main(synthetic: Path, real: Path) -> None:
    """Draw two rows of synthetic heads, and two rows of real ones."""
    rows = []
    for folder in (synthetic, real):
        scans = [case.path for case in discover(folder).scans]
        chosen = [scans[i * len(scans) // COLUMNS] for i in range(min(COLUMNS, len(scans)))]
        cells = [_slices_of(path) for path in chosen]
        rows += [np.concatenate([cell[i] for cell in cells], axis=1) for i in range(2)]
    width = max(row.shape[1] for row in rows)
    page = [np.pad(row, ((0, GAP_PX), (0, width - row.shape[1]), (0, 0))) for row in rows]
    sheet = Image.fromarray(np.concatenate(page))
    sheet.save(Path(__file__).with_name("synthesis.jpg"), quality=88)


def _slices_of(path: Path) -> list[np.ndarray]:
    scan = read_scan(path)
    to_display = axial_reorientation(scan.affine)
    stack = np.ascontiguousarray(to_display.apply(scan.voxels))
    spacing_mm = np.array(scan.spacing_mm)[list(to_display.axes)]
    head = find_head(stack, scan.voxel_volume_mm3).mask
    window = find_window(stack, head)
    top = np.flatnonzero(head.any(axis=(1, 2)))[-1]
    cells = []
    for depth_mm in BELOW_TOP_MM:
        index = int(top - round(depth_mm / spacing_mm[0]))
        rows, columns = (np.flatnonzero(head[index].any(axis=1 - axis)) for axis in (0, 1))
        canvas = [round(mm / size) for mm, size in zip(CELL_MM, spacing_mm[1:], strict=True)]
        shown = np.full(canvas, window.low, np.float32)
        source, target = zip(
            *(
                _around(places, size, length)
                for places, size, length in zip(
                    (rows, columns), stack.shape[1:], canvas, strict=True
                )
            ),
            strict=True,
        )
        shown[target] = stack[index][source]
        drawn = draw_slice(shown, np.zeros_like(shown, bool), window, CELL_PX)
        cells.append(np.pad(drawn, ((0, 0), (0, GAP_PX), (0, 0))))
    return cells


def _around(places: np.ndarray, size: int, length: int) -> tuple[slice, slice]:
    """Return which pixels of a slice are shown, and where, with the head in the middle."""
    first = int(places[0] + places[-1]) // 2 - length // 2
    low, high = max(0, first), min(size, first + length)
    return slice(low, high), slice(low - first, high - first)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
