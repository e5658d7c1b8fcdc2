"""`wmh-phantom`: synthetic FLAIR heads with exact lesion masks, to try the program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wmh_runtime.cli import console
from wmh_runtime.dataset.bids import REFERENCES
from wmh_runtime.dicom.library import require_dicom
from wmh_runtime.errors import InputError
from wmh_runtime.machine import available_cores
from wmh_runtime.phantom.cohort import RESERVED_SEEDS, plan_cohort, write_cohort
from wmh_runtime.text import count_noun

app = console.command_line("Generate synthetic FLAIR heads with exact lesion masks.")


@app.command(**console.ONLY_COMMAND)
def phantom(
    folder: Annotated[Path, typer.Argument(help="Folder for the scans.")],
    subjects: Annotated[int, typer.Option(help="Number of heads.")] = 3,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed: another seed gives other heads.")
    ] = 0,
    loads_ml: Annotated[
        tuple[float, float],
        typer.Option(metavar="LOWEST HIGHEST", help="Smallest and largest lesion load, mL."),
    ] = (1.0, 40.0),
    t1: Annotated[bool, typer.Option("--t1", help="Also make a T1 of each head.")] = False,
    dicom: Annotated[
        bool,
        typer.Option(
            "--dicom",
            help="Write the scans as DICOM series, in FOLDER/dicom, to try a PACS or wmh-node.",
        ),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Parallel processes. Default: one per core.")
    ] = None,
) -> None:
    """Generate synthetic FLAIR heads with exact lesion masks.

    The voxel grids are those of the three sites of the MICCAI 2017 WMH challenge, in turn. Scans
    are written to FOLDER, reference masks and a table of properties to
    FOLDER/derivatives/reference.
    """
    if seed in RESERVED_SEEDS:
        problem = f"{seed} is kept for heads that {RESERVED_SEEDS[seed]}: no training may see them"
        raise InputError(problem, "Choose another.", about="--seed")
    if dicom:
        require_dicom("--dicom")
    plans = plan_cohort(subjects, seed, loads_ml, with_t1=t1, as_dicom=dicom)
    with console.progress_bar() as bar:
        task = bar.add_task("generating heads", total=subjects)
        write_cohort(
            plans,
            folder,
            workers=workers or available_cores(),
            on_written=lambda: bar.advance(task),
        )
    console.print_line(
        f"{count_noun(subjects, 'scan')} in {folder}, reference masks in {folder / REFERENCES}"
    )


def main() -> None:
    """Run `wmh-phantom`."""
    console.run(app)
