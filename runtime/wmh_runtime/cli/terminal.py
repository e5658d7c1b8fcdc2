"""What all command lines share: where they write, how they fail, how they show progress."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from wmh_runtime.bundle import INTENDED_USE
from wmh_runtime.errors import WmhError

EXIT_SOME_FAILED = 1
EXIT_NOTHING_RAN = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)


def command_line(help_text: str) -> typer.Typer:
    """Make a command line that ends its help with what the program is for."""
    return typer.Typer(
        help=help_text,
        epilog=INTENDED_USE,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(app: typer.Typer) -> None:
    """Run a command line: an error of ours becomes one line and an exit status, no traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        app()
    except WmhError as error:
        say_error(str(error))
        sys.exit(EXIT_NOTHING_RAN)
    except KeyboardInterrupt:
        say_error("interrupted; what was finished is kept. Run the same command to go on.")
        sys.exit(EXIT_INTERRUPTED)


def say_error(line: str) -> None:
    """Write an error, one line, to the error stream."""
    err.print(f"[bold red]error:[/] {_escaped(line)}")


def say_warning(line: str) -> None:
    """Write a warning, one line, to the error stream."""
    err.print(f"[yellow]warning:[/] {_escaped(line)}")


def say(line: str) -> None:
    """Write a line of results."""
    out.print(_escaped(line))


def progress_bar() -> Progress:
    """Make a progress bar with the time left, on the error stream."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    )


def print_version(wanted: bool) -> None:
    """Print the version and stop, where that is what was asked for."""
    if wanted:
        say(f"wmh-lora {version('wmh-lora')}")
        raise typer.Exit


def _escaped(line: str) -> str:
    """Keep brackets in file names from being taken for colours."""
    return line.replace("[", r"\[")
