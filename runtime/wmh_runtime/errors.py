"""Errors that this project raises.

A program can catch one class or the whole family::

    WmhError
    ├── InputError              a file, a folder or an option of the user cannot be used
    ├── BundleError             a bundle is missing, altered, or from another version
    ├── BackendError            the network cannot be executed
    │   ├── NotInstalledError   a library is not installed
    │   ├── NoGpuError          no GPU, or no GPU driver
    │   └── DeviceLostError     the GPU failed and cannot be used again in this process
    ├── RecipeError             a training recipe or its data cannot be used
    ├── ExportError             a checkpoint could not be exported as a bundle
    ├── InterruptionError       the run was stopped on request and can be resumed
    └── UnexpectedError         a bug of this program, met with one scan or mask

Every message is one line: the file or option, what was found, what was expected, what to do.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any


class WmhError(Exception):
    """Base class of all errors that a user can act on.

    Args:
        problem: what was found and what was expected, without a full stop at the end.
        remedy: what to do, as an imperative sentence.
        about: the file, folder or option with the problem. None if `problem` names it.
    """

    def __init__(self, problem: str, remedy: str = "", *, about: Path | str | None = None) -> None:
        self.problem = problem
        self.remedy = remedy
        self.about = about
        prefix = f"{about}: " if about is not None else ""
        advice = f". {remedy}" if remedy else ""
        super().__init__(" ".join(f"{prefix}{problem}{advice}".split()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to make it again, so that it can be sent to another process."""
        return partial(type(self), self.problem, self.remedy, about=self.about), ()


class InputError(WmhError):
    """A file, a folder or an option of the user cannot be used."""


class BundleError(WmhError):
    """A bundle is missing, altered, or written for another version of this program."""


class BackendError(WmhError):
    """The network cannot be executed: the backend is not usable, or it failed."""


class NotInstalledError(BackendError):
    """A library is not installed."""


class NoGpuError(BackendError):
    """There is no GPU, or no driver for it."""


class DeviceLostError(BackendError):
    """The GPU failed. Nothing can run on it in this process any more."""


class RecipeError(WmhError):
    """A training recipe, or the data it is used with, cannot be used."""


class ExportError(WmhError):
    """A checkpoint could not be exported as a bundle that agrees with it."""


class InterruptionError(WmhError):
    """The user or the system stopped the run. It can be resumed."""


class UnexpectedError(WmhError):
    """A bug of this program, met with one scan or mask. The others are not affected."""
