"""Write the report of an evaluation: tables, pictures, and a summary."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wmh_runtime.errors import WmhError
from wmh_runtime.evaluation.pairing import Pair
from wmh_runtime.evaluation.provenance import Provenance, read_provenance, shortened
from wmh_runtime.evaluation.report.agreement import draw_bland_altman, draw_volumes
from wmh_runtime.evaluation.report.error_map import CaseView, draw_case, error_page
from wmh_runtime.evaluation.report.summary import (
    GROUPS_NAME,
    Sources,
    case_rows,
    format_number,
    group_rows,
    summary_text,
)
from wmh_runtime.evaluation.scoring import read_masks
from wmh_runtime.evaluation.statistics import Evaluation, ScoredCase
from wmh_runtime.files.atomic import write_bytes_atomically, write_text_atomically
from wmh_runtime.files.tables import write_table_atomically
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.orientation import axial_reorientation
from wmh_runtime.imageio.volume import Scan, on_grid_of
from wmh_runtime.preprocessing.head_mask import find_head
from wmh_runtime.text import count_noun
from wmh_runtime.types import Floats

METRICS_NAME = "metrics.csv"
SUMMARY_NAME = "summary.md"
VOLUMES_NAME = "volumes.png"
BLAND_ALTMAN_NAME = "bland-altman.png"
ERRORS_NAME = "errors.png"
WORST_CASES = 6  # they fill one page
MAX_LINES = 4  # of models, and of warnings, on the page of errors

_PICTURES = (
    ("Predicted and reference volumes", VOLUMES_NAME),
    ("Bland-Altman plot of volumes", BLAND_ALTMAN_NAME),
    ("Cases with the lowest Dice", ERRORS_NAME),
)


def write_report(
    out: Path,
    evaluation: Evaluation,
    cases: Sequence[ScoredCase],
    pairs: Mapping[str, Pair],
    scans: Mapping[str, Path],
    sources: Sources,
    on_warning: Callable[[str], None],
) -> Provenance:
    """Write the report. Existing files with the same names are replaced.

    Args:
        out: writable folder.
        evaluation: statistics of the cases.
        cases: at least one case.
        pairs: name of the case → its files.
        scans: name of the case → its scan, for cases with a scan.
        sources: what was compared.
        on_warning: called with a message for each scan that cannot be drawn. Its case is drawn
            without the scan.

    Returns:
        What made the predictions.

    Raises:
        InputError: a file cannot be written.
    """
    made_by = read_provenance({case.name: pairs[case.name].prediction for case in cases})
    write_table_atomically(out / METRICS_NAME, case_rows(cases, made_by.settings))
    write_table_atomically(out / GROUPS_NAME, group_rows(evaluation))
    for name, draw in ((VOLUMES_NAME, draw_volumes), (BLAND_ALTMAN_NAME, draw_bland_altman)):
        write_bytes_atomically(out / name, draw(cases, evaluation.volumes, made_by.notes))
    worst = sorted(cases, key=lambda case: (case.metrics.dice, case.name))[:WORST_CASES]
    bands = [
        draw_case(_view(case, pairs[case.name], scans.get(case.name), on_warning)) for case in worst
    ]
    all_shown = len(bands) == len(cases)
    everyone = count_noun(len(cases), "case")
    title = everyone if all_shown else f"The {len(bands)} of {everyone} with the lowest Dice"
    models = [f"Model: {model}" for model in shortened(made_by.models, MAX_LINES)]
    warnings = shortened(made_by.warnings, MAX_LINES)
    write_bytes_atomically(out / ERRORS_NAME, _png(error_page(title, models, warnings, bands)))
    # Written last: if the summary exists, the report is complete.
    write_text_atomically(out / SUMMARY_NAME, summary_text(evaluation, sources, made_by, _PICTURES))
    return made_by


def _view(
    case: ScoredCase, pair: Pair, scan: Path | None, on_warning: Callable[[str], None]
) -> CaseView:
    """Read the masks of a case, and its scan if possible, in display order."""
    masks = read_masks(pair)
    grid = masks.grid
    to_display = axial_reorientation(grid.affine)
    row_mm, column_mm = (grid.spacing_mm[axis] for axis in to_display.axes[1:])
    slices = _slices(scan, grid, on_warning) if scan else None
    metrics = case.metrics
    caption = (
        f"Dice {format_number(metrics.dice, 3)} · {metrics.prediction_ml:.2f} mL predicted,"
        f" {metrics.reference_ml:.2f} mL in the reference"
    )
    return CaseView(
        title=case.name if case.site in case.name else f"{case.name}, {case.site}",
        caption=caption,
        prediction=to_display.apply(masks.prediction & ~masks.reference.ignored),
        reference=to_display.apply(masks.reference.lesion),
        pixel_mm=(row_mm, column_mm),
        slices=slices,
        head=None if slices is None else find_head(slices, grid.voxel_volume_mm3).mask,
    )


def _slices(path: Path, grid: Scan, on_warning: Callable[[str], None]) -> Floats | None:
    """Read the slices of a scan in display order. If not possible, warn and return None."""
    try:
        scan = on_grid_of(read_scan(path), grid)
    except WmhError as error:
        on_warning(f"scan not drawn: {error}")
        return None
    return np.ascontiguousarray(axial_reorientation(grid.affine).apply(scan.voxels))


def _png(image: Image.Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "PNG", optimize=True)
    return encoded.getvalue()
