"""Score the networks of the study on heads of scanners that none of them has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.dev.studies.one_view import open_segmenter
from wmh_runtime.evaluation.metrics import compare_masks
from wmh_runtime.evaluation.report.summary import case_rows
from wmh_runtime.evaluation.report.writer import METRICS_NAME
from wmh_runtime.evaluation.statistics import ScoredCase
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.tables import write_table_atomically
from wmh_train.checkpoint import load_metadata
from wmh_train.data.annotated import AnnotatedScan

_WEIGHTS_NAME = "weights.sha256"  # of the network that was scored


def write_scores(
    training: Path, heads: Sequence[AnnotatedScan], report: Path, on_head: Callable[[], None]
) -> None:
    """Segment heads in one view, and write the table of a report.

    If it is there, of the same weights, nothing is done.

    Args:
        training: folder with the checkpoint of a network.
        heads: with true masks.
        report: folder for the table.
        on_head: called after each head.
    """
    weights = load_metadata(training).weights_sha256
    weights_note = report / _WEIGHTS_NAME
    if weights_note.exists() and weights_note.read_text(encoding="utf-8") == weights:
        return
    cases = []
    with open_segmenter(training) as segmenter:
        for head in heads:
            images, (reference,) = head.load()
            found = segmenter.segment(images)["wmh"]
            metrics = compare_masks(found.mask, reference, images[0].affine)
            cases.append(ScoredCase(head.name, head.subject, head.site, metrics))
            on_head()
    report.mkdir(parents=True, exist_ok=True)
    write_table_atomically(report / METRICS_NAME, case_rows(cases, {}))
    write_text_atomically(weights_note, weights)
