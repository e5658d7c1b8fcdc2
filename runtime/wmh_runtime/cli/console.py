"""What all command lines share: output, errors, exit status, progress bars."""

from __future__ import annotations

import importlib
import io
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib.metadata import version
from typing import Annotated, Any, TypeVar, cast

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from wmh_runtime.errors import DeviceLostError, InputError, InterruptionError, WmhError
from wmh_runtime.files.os_errors import input_error
from wmh_runtime.text import INTENDED_USE, install_advice

_Command = TypeVar("_Command", bound=Callable[..., object])

_OPTION = re.compile(r"\bthe (\w+) option\b")  # in messages from below the command line

_LINE_EVERY_S = 60.0  # without a terminal that shows a bar
_SPEED_OVER_S = 600.0  # steps may take a minute: the remaining time is estimated from ten minutes

# Errors below the command line name a field; here it becomes the option that sets it.
_OPTION_OF_FIELD = {
    "atlas": "--atlas",
    "atlas_transform": "--atlas-transform",
    "backend": "--backend",
    "batch_size": "--batch",
    "bundle": "--bundle",
    "dicom": "--dicom",
    "gpus": "--device",
    "longitudinal": "--longitudinal",
    "min_lesion_mm3": "--min-lesion-mm3",
    "pattern": "--pattern",
    "precision": "--precision",
    "pseudonyms": "--deidentify",
    "ray": "--ray",
    "register": "--register",
    "runtime": "--runtime",
    "scans": "--scans",
    "series": "--series",
    "shard": "--shard",
    "slices": "--slices",
    "t1_pattern": "--t1",
    "targets": "--targets",
    "threads": "--threads",
    "threshold": "--threshold",
    "tta": "--tta",
}

EXIT_SOME_FAILED = 1
EXIT_NOTHING_RAN = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class _Console(Console):
    """A console that falls silent when nobody reads it any more, as in `… | head -1`.

    The results are files: the work goes on. Rich would exit.
    """

    def on_broken_pipe(self) -> None:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - not a path
            os.dup2(nowhere.fileno(), self.file.fileno())


# File names may contain anything: nothing in a line is taken for markup or emoji.
out = _Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = _Console(highlight=False, soft_wrap=True, markup=False, emoji=False, stderr=True)
_live_bars: list[Progress] = []


def print_version(wanted: bool) -> None:
    """Print the version and exit, if the option was given."""
    if wanted:
        print_line(f"wmh-lora {version('wmh-lora')}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
]

# For a program with a single command: typer takes these from the command, not from the app.
ONLY_COMMAND: dict[str, Any] = {"epilog": INTENDED_USE, "no_args_is_help": True}


def command_line(help_text: str) -> typer.Typer:
    """Make a command line whose help ends with the intended use."""
    return typer.Typer(
        help=help_text,
        epilog=INTENDED_USE,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,  # its boxes break the lines of errors, which users search for
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(
    app: typer.Typer, arguments: Sequence[str] | None = None, program: str | None = None
) -> None:
    """Run a command line. An error of this project becomes one line and an exit status.

    Args:
        app: the command line.
        arguments: None: those that the program was called with.
        program: name for the help; None: that of the file that was called.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # a name that cannot be encoded must not stop a run
            stream.reconfigure(errors="backslashreplace")
    try:
        given = sys.argv[1:] if arguments is None else arguments
        if "" in given:  # typer would take it for the current folder
            raise InputError("an argument is empty", "Check the variables of your script.")
        named = {} if program is None else {"prog_name": program}
        app(*(() if arguments is None else (arguments,)), **named)
    except SystemExit as stop:
        if stop.code == EXIT_INTERRUPTED:  # typer's, after a KeyboardInterrupt
            print_error("interrupted.")
        raise
    except InterruptionError as stop:
        print_warning(str(stop))
        sys.exit(EXIT_INTERRUPTED)
    except DeviceLostError as error:
        print_error(str(error))
        sys.exit(EXIT_SOME_FAILED)
    except WmhError as error:
        print_error(_with_option(error))
        sys.exit(EXIT_NOTHING_RAN)
    except OSError as error:  # where no case is at fault, such as a folder without permission
        print_error(str(input_error(error, "cannot be used", error.filename or "a file")))
        sys.exit(EXIT_NOTHING_RAN)


def _with_option(error: WmhError) -> str:
    """Return the message of an error, with the option in place of the field it is about."""
    option = _OPTION_OF_FIELD.get(error.about) if isinstance(error.about, str) else None
    return str(WmhError(error.problem, error.remedy, about=option)) if option else str(error)


def run_module(name: str) -> None:
    """Run the `main` of a module, which needs no optional library; exit on Ctrl-C."""
    load_module(name, extras="cpu").main()


def load_module(name: str, extras: str) -> Any:
    """Import a module that needs optional libraries; exit if one is missing, or on Ctrl-C.

    Args:
        name: of the module.
        extras: of this package that install what the module needs, separated by commas.
    """
    with require_extra(extras):
        return importlib.import_module(name)


def needs(extras: str, *libraries: str) -> Callable[[_Command], _Command]:
    """Decorate a command: before it runs, check that optional libraries are installed.

    Its help is shown without them.

    Args:
        extras: of this package that install the libraries, separated by commas.
        libraries: names of Python modules.
    """

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def checked(*arguments: Any, **options: Any) -> Any:
            for library in libraries:
                load_module(library, extras)
            return command(*arguments, **options)

        return cast(_Command, checked)

    return decorate


@contextmanager
def require_extra(extras: str) -> Iterator[None]:
    """Import optional libraries within the block; exit if one is missing, or on Ctrl-C.

    Args:
        extras: of this package that install what is needed, separated by commas.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        print_error(f"{error.name} is not installed. {install_advice(extras)}")
        sys.exit(EXIT_NOTHING_RAN)
    except KeyboardInterrupt:
        print_error("interrupted; nothing was begun.")
        sys.exit(EXIT_INTERRUPTED)


def print_line(line: str) -> None:
    """Print a line of results."""
    _print(out, Text(line))


def print_warning(line: str) -> None:
    """Print a warning to the error stream."""
    _print(err, Text.assemble(("warning: ", "yellow"), _as_typed(line)))


def print_error(line: str) -> None:
    """Print an error to the error stream."""
    _print(err, Text.assemble(("error: ", "bold red"), _as_typed(line)))


def _as_typed(line: str) -> str:
    """Write options as they are typed: "the overwrite option" becomes "--overwrite"."""
    return _OPTION.sub(r"--\1", line)


def _print(console: Console, line: Text) -> None:
    """Print a line; above the bar if there is one on the same terminal."""
    (err if _live_bars and console.is_terminal else console).print(line)


class _Progress(Progress):
    """A bar on a terminal; elsewhere one line per minute, for log files."""

    def start(self) -> None:
        super().start()
        self._reported_at = time.monotonic()

    def update(self, task_id: TaskID, **fields: Any) -> None:
        super().update(task_id, **fields)
        self._report(self._tasks[task_id])

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._report(self._tasks[task_id])

    def _report(self, task: Task) -> None:
        now = time.monotonic()
        due = now - self._reported_at >= _LINE_EVERY_S
        if not self.disable or not due or not task.visible or not task.total:
            return
        self._reported_at = now
        left_s = task.time_remaining
        left = "" if left_s is None else f", about {math.ceil(left_s / 60)} min left"
        err.print(Text(f"{task.description}: {task.completed:.0f} of {task.total:.0f}{left}"))


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show progress with the remaining time, on the error stream."""
    bar = _Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=err,
        transient=True,
        speed_estimate_period=_SPEED_OVER_S,
        disable=not err.is_terminal,
    )
    with bar:
        if err.is_terminal:
            _live_bars.append(bar)
        try:
            yield bar
        finally:
            _live_bars.clear()


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Yield a function that prints a step with the elapsed time, on the error stream."""
    started = time.monotonic()
    with err.status("") as status:

        def report(step: str) -> None:
            status.update(step)
            _print(err, Text(f"{time.monotonic() - started:5.0f} s  {step}"))

        yield report
