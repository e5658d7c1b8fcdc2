"""Write the consensus of the masks of several raters for a folder of scans.

out/
├── sub-1_label-WMH_mask.nii.gz, sub-1_label-WMH_probseg.nii.gz …
└── raters.csv    sensitivity, specificity and volume of each rater for each scan, and notes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wmh_runtime.dataset import bids
from wmh_runtime.dataset.case import Case
from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.evaluation.mask_files import file_of_scan
from wmh_runtime.files.case_failure import case_failure
from wmh_runtime.files.folders import make_folder, make_writable_folder
from wmh_runtime.files.tables import write_table_atomically
from wmh_runtime.imageio.nifti_reader import read_scan
from wmh_runtime.imageio.nifti_writer import write_on_grid_of
from wmh_runtime.imageio.reference_masks import read_reference
from wmh_runtime.text import count_noun
from wmh_train.consensus.consensus import Consensus, find_consensus, require_staple
from wmh_train.consensus.method import Method
from wmh_train.consensus.notes import Note
from wmh_train.data.masks_by_name import find_masks_of, label_of

TABLE_NAME = "raters.csv"


@dataclass(frozen=True)
class CaseConsensus:
    """What happened to one scan."""

    name: str
    raters: int = 0  # with a mask of the scan; 0: it was skipped
    notes: tuple[Note, ...] = ()
    error: WmhError | None = None


@dataclass(frozen=True)
class _Rater:
    name: str
    masks: Mapping[str, Path] = field(repr=False)  # by name of the scan


def scan_id(case: Case) -> str:
    """Return the name of a scan: `sub-1_ses-2`, or `Amsterdam/GE3T/100` in the challenge."""
    entities = bids.bids_entities(case.relative)
    return file_of_scan(case.path, case.relative.parent, entities).scan_id


def write_consensus(
    cases: Sequence[Case],
    folders: Sequence[Path],
    out: Path,
    method: Method,
    on_note: Callable[[str], None],
) -> Iterator[CaseConsensus]:
    """Write the consensus of each scan that has a mask, and then the table of the raters.

    Args:
        cases: FLAIR scans.
        folders: masks of a rater each; the name of a folder is that of its rater.
        out: folder for masks and table.
        method: see `find_consensus`.
        on_note: called for each folder with images that are not used.

    Yields:
        What happened to each scan.

    Raises:
        InputError: a folder cannot be used, two have the same name, two scans have the same name,
            a folder has no mask of any scan, or STAPLE cannot be computed here.
    """
    if method == Method.STAPLE:
        require_staple()
    names = [scan_id(case) for case in cases]
    _require_unique(names, "scans", out)
    _require_unique([label_of(folder) for folder in folders], "folders of masks", out)
    images = [case.path for case in cases]
    raters = []
    for folder in folders:
        found = find_masks_of(names, folder, images)
        raters.append(_Rater(label_of(folder), found.of_scan))
        for note in found.notes:
            on_note(note)
    make_writable_folder(out)
    rows: list[dict[str, object]] = []
    for name, case in zip(names, cases, strict=True):
        own = {rater.name: rater.masks[name] for rater in raters if name in rater.masks}
        if not own:
            yield CaseConsensus(name)
            continue
        try:
            consensus, volumes_ml = _write_case(case, own, out, method)
        except Exception as error:
            yield CaseConsensus(name, error=case_failure(error, case.path, out))
            continue
        notes = list(consensus.notes)
        if 1 < len(own) < len(raters):
            notes.append(Note(f"only {count_noun(len(own), 'rater')} of {len(raters)}"))
        said = "; ".join(map(str, notes))
        rows += _rows(name, list(own), consensus, volumes_ml, said)
        yield CaseConsensus(name, len(own), tuple(notes))
    write_table_atomically(out / TABLE_NAME, rows)


def _write_case(
    case: Case, masks: Mapping[str, Path], out: Path, method: Method
) -> tuple[Consensus, list[float]]:
    scan = read_scan(case.path)
    lesions = [read_reference(path, scan).lesion for path in masks.values()]
    consensus = find_consensus(lesions, method)
    folder, entities = out / case.relative.parent, bids.bids_entities(case.relative)
    make_folder(folder)
    probability = folder / bids.probability_name(entities, "wmh")
    write_on_grid_of(scan, consensus.probability.astype(np.float32), probability)
    mask = folder / bids.mask_name(entities, "wmh")
    write_on_grid_of(scan, consensus.mask.astype(np.uint8), mask)
    ml = scan.voxel_volume_mm3 / 1000
    return consensus, [float(one.sum()) * ml for one in (*lesions, consensus.mask)]


def _rows(
    name: str, raters: Sequence[str], consensus: Consensus, volumes_ml: Sequence[float], notes: str
) -> Iterator[dict[str, object]]:
    *of_raters_ml, consensus_ml = volumes_ml
    for rater, score, rater_ml in zip(raters, consensus.raters, of_raters_ml, strict=True):
        yield {
            "scan": name,
            "rater": rater,
            "sensitivity": _rate(score.sensitivity),
            "specificity": _rate(score.specificity),
            "rater_ml": f"{rater_ml:.3f}",
            "consensus_ml": f"{consensus_ml:.3f}",
            "notes": notes,  # of the scan
        }


def _rate(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.5f}"


def _require_unique(names: Sequence[str], what: str, out: Path) -> None:
    for name in names:
        if names.count(name) > 1:
            problem = f"cannot be filled: two {what} have the name {name}"
            raise InputError(problem, "Rename one.", about=out)
