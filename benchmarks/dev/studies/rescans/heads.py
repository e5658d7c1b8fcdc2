"""Several scans of one head, without and with true changes of its lesions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.imageio.nifti_header import Affine
from wmh_runtime.types import Mask

# What differs from the first scan, besides the position of the head and the noise: nothing, the
# thickness of the slices, the contrast, or the lesions.
Scenario = Literal["same", "thickness", "contrast", "changed"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)


@dataclass(frozen=True, eq=False)
class HeadScan:
    """One scan of a head.

    Attributes:
        image: (x, y, z), FLAIR.
        lesions: (x, y, z), as they are.
        before: (x, y, z), as they were at the first scan, in the position of this one.
        affine: (4, 4), voxel index to RAS+ mm of the scanner.
    """

    image: NDArray[np.integer]
    lesions: Mask
    before: Mask
    affine: Affine
