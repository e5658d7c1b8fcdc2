"""Reference masks, drawn by raters: what is lesion, and what no one is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.volume import Scan, require_same_grid
from wmh_runtime.types import Mask

LESION = 1  # labels as the WMH segmentation challenge has them
OTHER_PATHOLOGY = 2


@dataclass(frozen=True)
class Reference:
    """A rater's mask on its scan's grid."""

    lesion: Mask  # (x, y, z)
    ignored: Mask  # (x, y, z), other pathology: neither learned from nor counted


def read_reference(path: Path, scan: Scan | None = None) -> Reference:
    """Read a mask of labels 0 (background), 1 (lesion) and 2 (other pathology, ignored).

    A mask of shares between 0 and 1 counts as lesion from one half.

    Args:
        path: of the mask.
        scan: the scan it was drawn on; None does not compare their grids.

    Raises:
        InputError: the file cannot be read, holds another label, or is on another grid.
    """
    mask = read_scan(path, allow_constant=True)
    if scan is not None:
        require_same_grid(mask, scan)
    return reference_from_labels(mask)


def reference_from_labels(mask: Scan) -> Reference:
    """Take the labels of a mask apart; InputError where there is one that is not 0, 1 or 2."""
    labels = np.floor(mask.voxels + 0.5)  # one half is lesion, unlike in numpy's own rounding
    strange = labels[(labels < 0) | (labels > OTHER_PATHOLOGY)]
    if strange.size:
        raise InputError(
            f"holds the label {strange[0]:g}, expected 0, 1 (lesion) and 2 (ignored)",
            "Give a mask of these labels.",
            about=mask.path,
        )
    return Reference(lesion=labels == LESION, ignored=labels == OTHER_PATHOLOGY)
