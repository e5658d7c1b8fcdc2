"""Options and helpers that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, get_args

import typer

from wmh_bench.machine import describe_machine
from wmh_bench.selection import CPU_BACKEND_NAMES
from wmh_runtime.cli import console
from wmh_runtime.cli.options import parse_precision
from wmh_runtime.errors import InputError
from wmh_runtime.figures.plot_style import DARK, LIGHT, Theme
from wmh_runtime.files.atomic import write_bytes_atomically
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.inference.backend_selection import parse_backend
from wmh_runtime.precision import Precision
from wmh_runtime.tta import VIEW_COUNTS, Views

BundleArgument = Annotated[str, typer.Argument(help="Bundle folder, or demo.")]
ResultsOption = Annotated[
    Path | None, typer.Option(help="JSON file to write the results to.", show_default=False)
]
BackendsOption = Annotated[
    str, typer.Option("--backend", help="Backends, separated by commas. Default: all.")
]
PrecisionsOption = Annotated[
    str, typer.Option("--precision", help="Precisions, separated by commas. Default: all.")
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="CPU threads. Default: one per core.")
]


def parse_backends(names: str) -> list[str]:
    """Return the named backends. If none is named: all, or those of the CPU without a GPU."""
    named = [parse_backend(name) for name in split_list(names)]
    if named or describe_machine().gpus:
        return named
    console.print_line("nvidia-smi finds no GPU: only the backends of the CPU are measured")
    return list(CPU_BACKEND_NAMES)


def parse_precisions(names: str) -> list[Precision]:
    """Return the named precisions."""
    return [parse_precision(name) for name in split_list(names)]


def parse_views(names: str) -> list[Views]:
    """Return the numbers of views of the graphs: 1, 8 or both."""
    known: tuple[Views, ...] = get_args(Views)
    assert known == VIEW_COUNTS
    views = [count for count in known if str(count) in split_list(names)]
    if not views or len(views) != len(split_list(names)):
        raise InputError(f"is {names}", "Give 1, 8 or 1,8.", about="--views")
    return views


def parse_batch_sizes(sizes: str) -> list[int]:
    """Return batch sizes in ascending order."""
    listed = split_list(sizes)
    if all(size.isdecimal() and int(size) for size in listed):
        return sorted({int(size) for size in listed})
    raise InputError(f"is {sizes}", "Give batch sizes, such as 1,4.", about="--batch")


def split_list(text: str) -> list[str]:
    """Split a list at its commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def require_writable(*paths: Path | None) -> None:
    """Check that files can be written, before a long measurement."""
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise InputError("is a folder", "Give a file to write.", about=path)
        make_writable_folder(path.parent)


def print_skipped(name: str, reason: str) -> None:
    """Print what was skipped, with the reason."""
    message = reason if reason.startswith(name) else f"{name}: {reason}"
    console.print_line(f"skipped {message}")


def format_number(value: float | None) -> str:
    """Return four significant digits, or a dash for None."""
    return "–" if value is None else f"{value:.4g}"


def write_pictures(path: Path, draw: Callable[[Theme], bytes]) -> None:
    """Write a picture for light pages, and one for dark pages (`-dark`)."""
    write_bytes_atomically(path, draw(LIGHT))
    write_bytes_atomically(path.with_stem(f"{path.stem}-dark"), draw(DARK))
