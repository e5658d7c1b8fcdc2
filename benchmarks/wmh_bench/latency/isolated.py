"""Call a function in a new process, and return its errors instead of raising them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeVar

from wmh_runtime.errors import NoGpuError, NotInstalledError, WmhError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why something could not be measured."""

    reason: str
    is_backend_missing: bool = False  # no other combination of this backend will work either


def call_in_process(function: Callable[..., Result], *arguments: object) -> Result | Failure:
    """Call a function in a new process. If the process crashes, return a failure."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        try:
            return pool.submit(call, function, *arguments).result()
        except BrokenProcessPool:
            return Failure("the process crashed: too little memory, or an error in a library")


def call(function: Callable[..., Result], *arguments: object) -> Result | Failure:
    """Call a function and return its error as a failure: not every error can be pickled."""
    try:
        return function(*arguments)
    except (NotInstalledError, NoGpuError) as error:
        return Failure(_message_without_path(error), is_backend_missing=True)
    except WmhError as error:
        return Failure(_message_without_path(error))
    except Exception as error:  # of a library; the other combinations are still measured
        first_line = str(error).strip().partition("\n")[0]
        return Failure(f"{type(error).__name__}: {first_line}")


def _message_without_path(error: WmhError) -> str:
    """Return the message without its subject, which may be a path on the user's machine."""
    return " ".join(filter(None, (f"{error.problem}.", error.remedy)))
