"""Worker processes that leave Ctrl-C to the program, and end with it however it ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from wmh_runtime.errors import InputError


def open_pool(
    workers: int, prepare: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """Return a pool of processes, which start when the first task is submitted.

    Args:
        workers: number of processes, at least 1.
        prepare: called once in each process before its first task; None: nothing to prepare.
        arguments: of `prepare`; they are pickled.
    """
    context = get_context("spawn")
    return ProcessPoolExecutor(workers, context, _start_worker, (prepare, arguments))


@contextmanager
def lost_process_as_error(out: Path, *, process: str, memory: str) -> Iterator[None]:
    """Say in one line that a process of a pool was ended from outside.

    Args:
        out: folder that the processes write to.
        process: what is lost, such as "a process".
        memory: what each process needs, such as "about 2 GB".

    Raises:
        InputError: a process was ended from outside.
    """
    try:
        yield
    except BrokenProcessPool as error:
        problem = f"could not be completed: {process} was ended from outside"
        advice = f"Is there enough memory? Each needs {memory}. The same command continues."
        raise InputError(problem, advice, about=out) from error


def _start_worker(prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare(*arguments)


def _end_with_parent() -> None:
    """End this process when its parent has ended, which a signal may do without a word."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
