"""Making masks: `wmh-train bronze` and `wmh-train consensus`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from wmh_runtime.cli import console
from wmh_runtime.dataset.discovery import Discovery, discover, summarize_skipped
from wmh_runtime.errors import InputError
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.machine import available_cores
from wmh_runtime.text import count_noun
from wmh_train.bronze.masks import METHODS, write_masks
from wmh_train.consensus.folder import TABLE_NAME, write_consensus
from wmh_train.consensus.method import Method
from wmh_train.consensus.notes import Note, summarize_notes


def bronze(scans: Path, out: Path, workers: int | None) -> None:
    """Segment scans by methods without learning."""
    cases = _find_scans(scans, out).scans
    make_writable_folder(out)
    failed = 0
    with console.progress_bar() as bar:
        task = bar.add_task("segmenting", total=len(cases))
        for error in write_masks(cases, out, workers or available_cores()):
            bar.advance(task)
            if error is not None:
                failed += 1
                console.print_error(str(error))
    folders = " ".join(str(out / method) for method in METHODS)
    if failed < len(cases):
        console.print_line(f"{count_noun(len(cases) - failed, 'scan')} with masks in {folders}")
        console.print_line(f"Next: wmh-train consensus {scans} {folders} --out {out / 'consensus'}")
    _conclude(failed, len(cases))


def consensus(scans: Path, masks: Sequence[Path], out: Path, method: Method) -> None:
    """Combine the masks of several raters."""
    if out.resolve() in {folder.resolve() for folder in masks}:
        problem = "as folder for the consensus would mix it with masks of a rater"
        raise InputError(problem, "Choose another folder.", about=out)
    cases = _find_scans(scans, out).scans
    done = failed = without = 0
    notes: list[tuple[str, Note]] = []
    with console.progress_bar() as bar:
        task = bar.add_task("combining", total=len(cases))
        for result in write_consensus(cases, masks, out, method, console.print_warning):
            bar.advance(task)
            notes += [(result.name, note) for note in result.notes]
            if result.error is not None:
                failed += 1
                console.print_error(str(result.error))
            elif result.raters:
                done += 1
            else:
                without += 1
    for line in summarize_notes(notes):
        console.print_warning(line)
    if without:
        console.print_warning(f"skipped {count_noun(without, 'scan')} without any mask")
    console.print_line(f"consensus of {count_noun(done, 'scan')} in {out}: {out / TABLE_NAME}")
    _conclude(failed, len(cases) - without)


def _find_scans(scans: Path, out: Path) -> Discovery:
    found = discover(scans, out)
    if found.skipped:
        console.print_line(f"skipped {summarize_skipped(found.skipped)}")
    for case in found.unreadable:
        console.print_warning(f"{case.path}: cannot be read")
    return found


def _conclude(failed: int, total: int) -> None:
    if failed == total:
        raise typer.Exit(console.EXIT_NOTHING_RAN)
    if failed:
        console.print_error(
            f"{failed} of {count_noun(total, 'scan')} failed, for the reasons above"
        )
        raise typer.Exit(console.EXIT_SOME_FAILED)
