"""The folder that an evaluation leaves: tables, pictures, and a page that shows them together."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wmh_runtime.errors import WmhError
from wmh_runtime.evaluation.pairing import Pair
from wmh_runtime.evaluation.report.agreement import draw_bland_altman, draw_volumes
from wmh_runtime.evaluation.report.error_map import CaseView, draw_case, error_page
from wmh_runtime.evaluation.report.summary import (
    GROUPS_NAME,
    Sources,
    number,
    rows_of,
    rows_of_groups,
    summary_text,
)
from wmh_runtime.evaluation.scoring import read_masks
from wmh_runtime.evaluation.statistics import Case, Evaluation
from wmh_runtime.files.atomic import write_bytes_atomically, write_text_atomically
from wmh_runtime.files.tables import write_table_atomically
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.orientation import reorientation_to
from wmh_runtime.imageio.volume import Scan, require_same_grid
from wmh_runtime.preprocessing.head_mask import head_mask
from wmh_runtime.types import Floats

METRICS_NAME = "metrics.csv"
SUMMARY_NAME = "summary.md"
VOLUMES_NAME = "volumes.png"
BLAND_ALTMAN_NAME = "bland-altman.png"
ERRORS_NAME = "errors.png"
WORST_CASES = 6  # fill one page

_PICTURES = (
    ("Volumes against each other", VOLUMES_NAME),
    ("Difference of volumes", BLAND_ALTMAN_NAME),
    ("Cases of lowest Dice", ERRORS_NAME),
)


def write_report(
    out: Path,
    evaluation: Evaluation,
    cases: Sequence[Case],
    pairs: Mapping[str, Pair],
    scans: Mapping[str, Path],
    sources: Sources,
    on_warning: Callable[[str], None],
) -> None:
    """Write the report; files of these names are replaced.

    Args:
        out: folder that can be written to.
        evaluation: of the cases.
        cases: at least one.
        pairs: case's name → its files.
        scans: case's name → its scan, for those that have one.
        sources: what is compared.
        on_warning: is told of each scan that cannot be drawn; its case is drawn without.

    Raises:
        InputError: a file cannot be written.
    """
    write_table_atomically(out / METRICS_NAME, rows_of(cases))
    write_table_atomically(out / GROUPS_NAME, rows_of_groups(evaluation))
    write_bytes_atomically(out / VOLUMES_NAME, draw_volumes(cases, evaluation.volumes))
    write_bytes_atomically(out / BLAND_ALTMAN_NAME, draw_bland_altman(cases, evaluation.volumes))
    worst = sorted(cases, key=lambda case: (case.metrics.dice, case.name))[:WORST_CASES]
    bands = [
        draw_case(_view(case, pairs[case.name], scans.get(case.name), on_warning)) for case in worst
    ]
    all_shown = len(bands) == len(cases)
    title = "All cases" if all_shown else f"The {len(bands)} of {len(cases)} cases of lowest Dice"
    write_bytes_atomically(out / ERRORS_NAME, _png(error_page(title, bands)))
    # Last: a summary means that all it shows is there.
    write_text_atomically(out / SUMMARY_NAME, summary_text(evaluation, sources, _PICTURES))


def _view(case: Case, pair: Pair, scan: Path | None, on_warning: Callable[[str], None]) -> CaseView:
    """Bring a case's masks, and its scan if it can be had, into the order of display."""
    masks = read_masks(pair)
    grid = masks.grid
    to_display = reorientation_to("axial", grid.affine)
    row_mm, column_mm = (grid.spacing_mm[axis] for axis in to_display.axes[1:])
    slices = _slices(scan, grid, on_warning) if scan else None
    metrics = case.metrics
    facts = (
        f"Dice {number(metrics.dice, 3)} · {metrics.prediction_ml:.2f} mL predicted,"
        f" {metrics.reference_ml:.2f} mL in the reference"
    )
    return CaseView(
        title=f"{case.name}, {case.site}" if case.site else case.name,
        facts=facts,
        prediction=to_display.apply(masks.prediction & ~masks.reference.ignored),
        reference=to_display.apply(masks.reference.lesion),
        pixel_mm=(row_mm, column_mm),
        slices=slices,
        head=None if slices is None else head_mask(slices, grid.voxel_volume_mm3),
    )


def _slices(path: Path, grid: Scan, on_warning: Callable[[str], None]) -> Floats | None:
    """Read a scan as slices for display; None, and a warning, where that is impossible."""
    try:
        scan = read_scan(path)
        require_same_grid(scan, grid)
    except WmhError as error:
        on_warning(f"not drawn: {error}")
        return None
    return np.ascontiguousarray(reorientation_to("axial", grid.affine).apply(scan.voxels))


def _png(image: Image.Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "PNG", optimize=True)
    return encoded.getvalue()
