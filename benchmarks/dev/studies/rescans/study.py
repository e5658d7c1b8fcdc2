"""Scan heads again without and with changes, segment the scans, and compare the lesions.

The limits in `wmh_runtime/change/rules.py` come from this study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from benchmarks.dev.studies.rescans.heads import HeadScan
from benchmarks.dev.studies.rescans.measure import PairRecord, measure_head
from benchmarks.dev.studies.rescans.phantom_scans import phantom_scans
from benchmarks.dev.studies.rescans.summary import RescanStudy, summarize
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.files.atomic import write_bytes_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.inference.segmenter import Segmenter

Kind = Literal["phantom", "synthetic"]
BUNDLES: Mapping[Kind, str] = {"phantom": "demo", "synthetic": "base"}
_RECORDS = TypeAdapter(list[PairRecord])


def run_study(
    out: Path,
    label_maps: Sequence[Path],
    *,
    heads: int,
    workers: int,
    on_head: Callable[[], None],
) -> RescanStudy:
    """Measure all heads that are not measured yet, and summarize.

    Args:
        out: folder with a file for each head; what is there is kept.
        label_maps: of the synthetic heads.
        heads: of each kind.
        workers: number of processes.
        on_head: called after each head.
    """
    make_folder(out)
    jobs = [(kind, number) for number in range(heads) for kind in BUNDLES]
    with ProcessPoolExecutor(workers) as pool:
        for _ in pool.map(partial(_measure, out, tuple(label_maps)), jobs):
            on_head()
    records: dict[str, list[PairRecord]] = {
        kind: [record for number in range(heads) for record in _read(out, kind, number)]
        for kind in BUNDLES
    }
    return summarize(records)


def _measure(out: Path, label_maps: Sequence[Path], job: tuple[Kind, int]) -> None:
    kind, number = job
    path = _path(out, kind, number)
    if path.exists():
        return
    options = InferenceOptions(threads=1)
    with Segmenter.from_bundle(load_bundle(BUNDLES[kind]), options) as segmenter:
        records = list(measure_head(path.stem, _scans(kind, label_maps, number), segmenter))
    write_bytes_atomically(path, _RECORDS.dump_json(records, indent=1))


def _scans(kind: Kind, label_maps: Sequence[Path], number: int) -> dict[str, HeadScan]:
    if kind == "phantom":
        return phantom_scans(number)
    from benchmarks.dev.studies.rescans.synthetic_scans import synthetic_scans
    from wmh_train.synthesis.anatomy import read_label_map

    return synthetic_scans([read_label_map(label_maps[number % len(label_maps)])], number)


def _path(out: Path, kind: Kind, number: int) -> Path:
    return out / f"{kind}-{number:03d}.json"


def _read(out: Path, kind: Kind, number: int) -> list[PairRecord]:
    return _RECORDS.validate_json(_path(out, kind, number).read_bytes())
