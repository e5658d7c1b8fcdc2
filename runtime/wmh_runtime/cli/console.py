"""What all command lines share: where they write, how they fail, how they show progress."""

from __future__ import annotations

import importlib
import io
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

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

from wmh_runtime.errors import DeviceLostError, InterruptionError, WmhError
from wmh_runtime.text import INTENDED_USE

_LINE_EVERY_S = 60.0  # where no bar can be drawn
_SPEED_OVER_S = 600.0  # steps may take a minute: the time left comes from the last ten

EXIT_SOME_FAILED = 1
EXIT_NOTHING_RAN = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

# File names may hold anything: nothing in a line is taken for markup or emoji.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(highlight=False, soft_wrap=True, markup=False, emoji=False, stderr=True)
_live_bars: list[Progress] = []

# For a program of one command, which takes these from the command and not from the app.
ONLY_COMMAND: dict[str, Any] = {"epilog": INTENDED_USE, "no_args_is_help": True}


def command_line(help_text: str) -> typer.Typer:
    """Make a command line that ends its help with what the program is for."""
    return typer.Typer(
        help=help_text,
        epilog=INTENDED_USE,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,  # its boxes break lines of errors, which people search for
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(app: typer.Typer) -> None:
    """Run a command line: an error of ours becomes one line and an exit status, no traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that cannot be encoded stops nothing
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as stop:
        if stop.code == EXIT_INTERRUPTED:  # typer's, of a KeyboardInterrupt
            print_error("interrupted.")
        raise
    except InterruptionError as stop:
        print_warning(str(stop))
        sys.exit(EXIT_INTERRUPTED)
    except DeviceLostError as error:
        print_error(str(error))
        sys.exit(EXIT_SOME_FAILED)
    except WmhError as error:
        print_error(str(error))
        sys.exit(EXIT_NOTHING_RAN)


def run_module(name: str, extras: str = "cpu", needs: Sequence[str] = ()) -> None:
    """Run the `main` of a command line's module, or say which library is missing.

    Args:
        name: of the module.
        extras: of this distribution that install what it needs, commas between.
        needs: libraries that the module imports only when it uses them.
    """
    load_module(name, extras, needs).main()


def load_module(name: str, extras: str, needs: Sequence[str] = ()) -> Any:
    """Import a module that needs more than the runtime; exit where a library is missing, or Ctrl-C.

    Args:
        name: of the module.
        extras: of this distribution that install what it needs, commas between.
        needs: libraries that the module imports only when it uses them.
    """
    with require_extra(extras):
        for library in needs:
            importlib.import_module(library)
        return importlib.import_module(name)


@contextmanager
def require_extra(extras: str) -> Iterator[None]:
    """Import within the block what needs more than the runtime; exit where it is missing.

    Args:
        extras: of this distribution that install what is needed, commas between.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        print_error(
            f"{error.name} is not installed. Run in the project's folder: pip install '.[{extras}]'"
        )
        sys.exit(EXIT_NOTHING_RAN)
    except KeyboardInterrupt:
        print_error("interrupted; nothing was begun.")
        sys.exit(EXIT_INTERRUPTED)


def print_line(line: str) -> None:
    """Write a line of results."""
    _print(out, Text(line))


def print_warning(line: str) -> None:
    """Write a warning, one line, to the error stream."""
    _print(err, Text.assemble(("warning: ", "yellow"), line))


def print_error(line: str) -> None:
    """Write an error, one line, to the error stream."""
    _print(err, Text.assemble(("error: ", "bold red"), line))


def _print(console: Console, line: Text) -> None:
    """Write a line; above the bar where one is drawn on the same terminal."""
    (err if _live_bars and console.is_terminal else console).print(line)


class _Progress(Progress):
    """A bar where there is a terminal to draw on; elsewhere a line a minute, for log files."""

    def start(self) -> None:
        super().start()
        self._told_at = time.monotonic()

    def update(self, task_id: TaskID, **fields: Any) -> None:
        super().update(task_id, **fields)
        self._tell(self._tasks[task_id])

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._tell(self._tasks[task_id])

    def _tell(self, task: Task) -> None:
        now = time.monotonic()
        due = now - self._told_at >= _LINE_EVERY_S
        if not self.disable or not due or not task.visible or not task.total:
            return
        self._told_at = now
        left_s = task.time_remaining
        left = "" if left_s is None else f", about {math.ceil(left_s / 60)} min left"
        err.print(Text(f"{task.description}: {task.completed:.0f} of {task.total:.0f}{left}"))


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show progress with the time left, on the error stream."""
    bar = _Progress(
        TextColumn("{task.description}"),
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
    """Yield what to call with each step: a line on the error stream, with the time passed."""
    started = time.monotonic()
    with err.status("") as status:

        def tell(step: str) -> None:
            status.update(step)
            _print(err, Text(f"{time.monotonic() - started:5.0f} s  {step}"))

        yield tell


def print_version(wanted: bool) -> None:
    """Print the version and stop, where that is what was asked for."""
    if wanted:
        print_line(f"wmh-lora {version('wmh-lora')}")
        raise typer.Exit
