"""Read the images that heads are made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from wmh_runtime.errors import InputError
from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.imageio.read_errors import COPY_AGAIN, read_errors


def read_source(path: Path) -> tuple[NDArray[Any], Affine]:
    """Read the voxels (x, y, z) of an image, and its affine (4, 4) to RAS+ mm.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with read_errors(path):
            image = nib.load(path)
            return np.asarray(image.dataobj), image.affine
    except (ValueError, ImageFileError) as error:
        raise InputError("cannot be read as an image", COPY_AGAIN, about=path) from error
