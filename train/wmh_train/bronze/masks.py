"""Write the masks of all methods for a folder of scans.

out/
├── outliers/sub-1_label-WMH_mask.nii.gz …
├── mixture/…
└── top-hat/…
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path

import cc3d
import numpy as np

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import WmhError
from wmh_runtime.files.case_failure import case_failure
from wmh_runtime.files.folders import make_folder
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.nifti_writer import write_on_grid_of
from wmh_runtime.types import Mask
from wmh_train.bronze.brain import Brain, find_brain
from wmh_train.bronze.mixture import segment_mixture
from wmh_train.bronze.outliers import segment_outliers
from wmh_train.bronze.top_hat import segment_top_hat
from wmh_train.worker_processes import lost_process_as_error, open_pool

METHODS: Mapping[str, Callable[[Brain], Mask]] = {
    "outliers": segment_outliers,
    "mixture": segment_mixture,
    "top-hat": segment_top_hat,
}
_LEAST_MM3 = 5.0  # smaller spots are noise


def write_masks(cases: Sequence[Case], out: Path, workers: int) -> Iterator[WmhError | None]:
    """Segment scans with all methods, several at a time. Scans with all masks are skipped.

    Args:
        cases: FLAIR scans.
        out: folder for the masks, see above.
        workers: number of processes.

    Yields:
        For each scan, in the order in which they end: None, or why it failed.

    Raises:
        InputError: a process was ended from outside.
    """
    pool = open_pool(workers)
    try:
        with lost_process_as_error(out, process="a process", memory="about 2 GB"):
            missing = [case for case in cases if not _has_all_masks(case, out)]
            yield from [None] * (len(cases) - len(missing))
            for future in as_completed([pool.submit(_write_case, case, out) for case in missing]):
                yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def segment_scan(brain: Brain, method: str) -> Mask:
    """Return the lesions that a method finds, (x, y, z) on the grid of the scan."""
    least = max(1, round(_LEAST_MM3 / brain.voxel_mm3))
    lesions = cc3d.dust(METHODS[method](brain), threshold=least, connectivity=26).astype(bool)
    return np.ascontiguousarray(brain.reorientation.undo(lesions))


def _mask_paths(case: Case, out: Path) -> dict[str, Path]:
    name = bids.mask_name(bids.bids_entities(case.relative), "wmh")
    return {method: out / method / case.relative.parent / name for method in METHODS}


def _has_all_masks(case: Case, out: Path) -> bool:
    return all(path.exists() for path in _mask_paths(case, out).values())


def _write_case(case: Case, out: Path) -> WmhError | None:
    try:
        scan = read_scan(case.path)
        brain = find_brain(scan)
        for method, path in _mask_paths(case, out).items():
            make_folder(path.parent)
            write_on_grid_of(scan, segment_scan(brain, method).astype(np.uint8), path)
    except Exception as error:
        return case_failure(error, case.path, out)
    return None
