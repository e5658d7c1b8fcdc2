"""`wmh-node`: a DICOM service that segments the studies it receives, and sends the results."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Annotated

import typer

from wmh_runtime.cli import console
from wmh_runtime.dicom.library import require_dicom

app = console.command_line("Receive DICOM studies, segment them, and send the results.")


@app.command(**console.ONLY_COMMAND)
def node(
    config: Annotated[Path, typer.Argument(help="TOML file; docs/dicom.md has an example.")],
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Only check the file, open the model, and ask each destination for an answer.",
        ),
    ] = False,
    _version: console.VersionOption = False,
) -> None:
    """Run a DICOM service until it is stopped by Ctrl-C or SIGTERM.

    It receives MR images, finds the FLAIR series of each study, segments it, and sends
    segmentation, structured report and picture to the nodes that the file names. What it has
    received is on disk: after a crash it goes on.
    """
    require_dicom("wmh-node")
    from wmh_runtime.node.config import read_config
    from wmh_runtime.node.service import check as check_config
    from wmh_runtime.node.service import serve

    settings = read_config(config)
    if check:
        for line in check_config(settings):
            console.print_line(line)
        return
    _log_to_stderr()
    serve(settings, _stop_request().wait)


def _stop_request() -> threading.Event:
    """Return what the signals to stop set."""
    request = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: request.set())
    return request


def _log_to_stderr() -> None:
    """Log what happens, with the time. No line holds anything about a patient.

    Warnings of libraries may hold values of headers, so they are not shown.
    """
    warnings.simplefilter("ignore")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("wmh_runtime.node")
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def main() -> None:
    """Run `wmh-node`."""
    console.run(app)
