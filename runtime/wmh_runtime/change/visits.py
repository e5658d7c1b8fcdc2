"""A visit: the files of one scan of a subject, and what is read from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmh_runtime.change.acquisition import Acquisition, read_acquisition
from wmh_runtime.dataset.bids import MANUAL, table_of_image
from wmh_runtime.errors import InputError
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.imageio.atlas import read_atlas, read_region_names
from wmh_runtime.imageio.image_files import sha256_of_image
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.volume import Scan, on_grid_of
from wmh_runtime.outputs.settings import Settings
from wmh_runtime.postprocessing.regions import BRAIN
from wmh_runtime.types import Floats, Mask

LESION_LEVEL = 0.5  # of a level map: at the boundary of a lesion
_ALMOST_LESION = 0.49


@dataclass(frozen=True)
class Visit:
    """The files of one visit.

    Attributes:
        label: such as `ses-1`; unique within the subject, part of file names.
        scan: the image.
        mask: of the lesions, on the grid of the scan; every voxel above 0 is lesion.
        date: of the scan; None: not known.
        probability: map that the mask was made from; None: there is none.
        threshold: of the probability; None: not known, then the map is not used.
        regions: label map of the brain; None: there is none. A table of the same name with the
            columns `index` and `name` says what its numbers are. Without one, every voxel above 0
            is brain.
        scan_sha256: of the image that was segmented; empty: not known, then it is not checked.
        mask_sha256: of the mask as it was written; likewise.
        name: path of the scan as in the tables; empty: the name of its file.
        settings: that the mask was made with; None: not known.
        is_corrected: the mask is one that was corrected by hand.
    """

    label: str
    scan: Path
    mask: Path
    date: date | None = None
    probability: Path | None = None
    threshold: float | None = None
    regions: Path | None = None
    scan_sha256: str = ""
    mask_sha256: str = ""
    name: str = ""
    settings: Settings | None = None
    is_corrected: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The images that decide the result, and the names of the regions."""
        table = None if self.regions is None else table_of_regions(self.regions)
        optional = (self.probability, self.regions, table)
        return (self.scan, self.mask, *(path for path in optional if path is not None))


@dataclass(frozen=True, eq=False)
class BrainRegions:
    """The regions of a brain."""

    numbers: NDArray[np.uint16]  # (x, y, z), 0 outside of the brain
    names: Mapping[int, str]  # of the numbers; empty: not known

    def masks(self) -> dict[str, Mask]:
        """Return each region, (x, y, z), by name, and the whole brain."""
        named = {name: self.numbers == number for number, name in self.names.items()}
        return named | {BRAIN: self.numbers > 0}


@dataclass(frozen=True, eq=False)
class VisitImages:
    """What is known of a visit, on the grid of its scan."""

    scan: Scan
    lesions: Mask  # (x, y, z)
    level: Floats  # (x, y, z), 0 to 1: `LESION_LEVEL` and above in lesions, below outside
    regions: BrainRegions | None  # None: not known
    acquisition: Acquisition = field(default_factory=Acquisition)

    @property
    def brain(self) -> Mask | None:
        """The brain, (x, y, z); None if it is not known."""
        return None if self.regions is None else self.regions.numbers > 0

    @property
    def volume_ml(self) -> float:
        """The volume of the mask as it is."""
        return self.volume_within_ml(self.lesions)

    def volume_within_ml(self, part: Mask) -> float:
        """Return the volume of the lesions within a part of the scan, (x, y, z)."""
        voxels = int(np.count_nonzero(self.lesions & part))
        return voxels * self.scan.voxel_volume_mm3 / 1000


def read_visit(visit: Visit) -> VisitImages:
    """Read the images of a visit.

    Raises:
        InputError: a file cannot be read, or is not on the grid of the scan; the scan is not the
            one that was segmented; or the mask is not as it was written.
    """
    _require_as_segmented(visit)
    scan = read_scan(visit.scan)
    mask = on_grid_of(read_scan(visit.mask, allow_constant=True), scan)
    lesions = mask.voxels > 0
    probability = None
    if visit.probability is not None and visit.threshold is not None:
        read = read_scan(visit.probability, allow_constant=True)
        probability = on_grid_of(read, scan).voxels
    level = level_map(lesions, probability, visit.threshold or LESION_LEVEL)
    return VisitImages(
        scan, lesions, level, _read_regions(visit, scan), read_acquisition(visit.scan)
    )


def level_map(lesions: Mask, probability: Floats | None, threshold: float) -> Floats:
    """Return a map that is `LESION_LEVEL` at the boundary of lesions, for interpolation.

    A probability below the threshold is stretched to 0 to 0.5, one above it to 0.5 to 1. Where
    probability and mask disagree, the mask counts: 1 in lesions that were drawn by hand, and just
    below 0.5 in those that were too small for the mask, or were removed by hand.

    Args:
        lesions: (x, y, z).
        probability: (x, y, z), in [0, 1]; None: the mask is the map.
        threshold: of the probability, in (0, 1].
    """
    if probability is None:
        return lesions.astype(np.float32)
    below = LESION_LEVEL * probability / threshold
    rest = 1 - threshold or 1.0  # at a threshold of 1, nothing is above it
    above = LESION_LEVEL + (1 - LESION_LEVEL) * (probability - threshold) / rest
    is_above = probability >= threshold
    level = np.where(is_above, np.minimum(above, 1), below)
    level[lesions & ~is_above] = 1
    level[~lesions & is_above] = _ALMOST_LESION
    return level.astype(np.float32)


def table_of_regions(regions: Path) -> Path | None:
    """Return the table that names the numbers of a label map; None if there is none."""
    table = table_of_image(regions)
    return table if table.is_file() else None


def _require_as_segmented(visit: Visit) -> None:
    """Refuse a scan with the mask of another one, and a mask that the tables do not know."""
    try:
        is_same_scan = visit.scan_sha256 in ("", sha256_of_image(visit.scan))
        is_same_mask = visit.mask_sha256 in ("", sha256_file(visit.mask))
    except OSError:
        return  # reading the file will report the reason
    if not is_same_scan:
        problem = "is another scan than the one that was segmented"
        raise InputError(problem, "Segment it again.", about=visit.scan)
    if not is_same_mask:
        advice = (
            f"Put a corrected mask into {MANUAL.as_posix()} of the folder of the scans, or segment"
            " the scan again."
        )
        raise InputError("was changed after it was written", advice, about=visit.mask)


def _read_regions(visit: Visit, scan: Scan) -> BrainRegions | None:
    if visit.regions is None:
        return None
    numbers = read_atlas(visit.regions, scan)
    if not numbers.any():
        raise InputError("contains no brain", "Leave it out.", about=visit.regions)
    table = table_of_regions(visit.regions)
    return BrainRegions(numbers, {} if table is None else read_region_names(table))
