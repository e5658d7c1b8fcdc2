"""The errors this project raises, all of one family, so that a program can catch what it means.

    WmhError
    ├── InputError      a scan, a folder or an option of the user's cannot be used
    ├── BundleError     a bundle is missing, altered, or of another version
    ├── BackendError    what should execute the network is missing or failed
    │   └── DeviceLostError    and will not come back
    ├── RecipeError     a training recipe does not make sense
    └── ExportError     a checkpoint could not be turned into a bundle

Every message is one line: what it is about, what came, what was expected, what to do.
"""

from __future__ import annotations

from pathlib import Path


class WmhError(Exception):
    """Base of all errors that a user can act on.

    Args:
        problem: what came and what was expected, without a final full stop.
        remedy: what to do about it, as an imperative sentence.
        about: the file, folder or option concerned, or None where the problem names it.
    """

    def __init__(self, problem: str, remedy: str = "", *, about: Path | str | None = None) -> None:
        self.problem = problem
        self.remedy = remedy
        self.about = about
        subject = f"{about}: " if about is not None else ""
        advice = f". {remedy}" if remedy else ""
        super().__init__(" ".join(f"{subject}{problem}{advice}".split()))


class InputError(WmhError):
    """A scan, a folder or an option of the user's cannot be used."""


class BundleError(WmhError):
    """A bundle is missing, altered, or written for another version of this program."""


class BackendError(WmhError):
    """What should execute the network is not installed, not usable, or failed."""


class NotInstalledError(BackendError):
    """A library is not there."""


class NoGpuError(BackendError):
    """There is no GPU, or no driver for it."""


class DeviceLostError(BackendError):
    """The device is gone: nothing can be executed on it in this process."""


class RecipeError(WmhError):
    """A training recipe, or the data it is given, does not make sense."""


class ExportError(WmhError):
    """A checkpoint could not be turned into a bundle that agrees with it."""


class InterruptionError(WmhError):
    """The user, or the system, asked for the end of something that can go on later."""
