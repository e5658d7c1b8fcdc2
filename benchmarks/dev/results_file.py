"""The file with the results of a measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.schema import StrictModel

ResultsOption = Annotated[
    Path | None, typer.Option(help="JSON file to write the results to.", show_default=False)
]


def require_writable(results: Path | None) -> None:
    """Check that the results can be written, before a long measurement.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    if results is not None:
        make_writable_folder(results.parent)


def write_results(results: Path | None, measured: StrictModel) -> None:
    """Write the results, if a file is given."""
    if results is not None:
        write_text_atomically(results, measured.model_dump_json(indent=2) + "\n")
