"""Reference masks, drawn by raters: lesions, and voxels that are ignored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.volume import Scan, require_same_grid
from wmh_runtime.types import Mask

LESION = 1  # labels of the WMH segmentation challenge
OTHER_PATHOLOGY = 2


@dataclass(frozen=True)
class Reference:
    """A reference mask on the grid of its scan."""

    lesion: Mask  # (x, y, z)
    ignored: Mask  # (x, y, z), other pathology: not used in training and evaluation


def read_reference(path: Path, scan: Scan | None = None) -> Reference:
    """Read a mask with the labels 0 (background), 1 (lesion) and 2 (other pathology, ignored).

    Values between 0 and 1 are lesion from 0.5.

    Args:
        path: the mask file.
        scan: the scan of the mask. None: the grids are not compared.

    Raises:
        InputError: the file cannot be read, contains another label, or is on another grid.
    """
    mask = read_scan(path, allow_constant=True)
    if scan is not None:
        require_same_grid(mask, scan)
    return reference_from_labels(mask)


def reference_from_labels(mask: Scan) -> Reference:
    """Split a mask by its labels; raise InputError if a label is not 0, 1 or 2."""
    labels = np.floor(mask.voxels + 0.5)  # rounds 0.5 up, unlike numpy.round
    unknown = labels[(labels < 0) | (labels > OTHER_PATHOLOGY)]
    if unknown.size:
        raise InputError(
            f"contains the label {unknown[0]:g}, expected 0, 1 (lesion) and 2 (ignored)",
            "Give a mask with these labels.",
            about=mask.path,
        )
    return Reference(lesion=labels == LESION, ignored=labels == OTHER_PATHOLOGY)
