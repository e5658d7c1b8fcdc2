"""What segments the cases of a job: devices of this machine, or workers on other machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from wmh_runtime.cohort.case.worker import RunningCase
from wmh_runtime.cohort.job import Job
from wmh_runtime.cohort.sharing.shared_folder import SharedFolder
from wmh_runtime.dataset.case import Case
from wmh_runtime.files.process import ProcessId

Event = Literal["done", "progress", "elsewhere"]


class Runner(Protocol):
    """Segments the cases of a job."""

    @property
    def fatal(self) -> BaseException | None:
        """What stops the run, such as a lost device."""

    @property
    def unfinished(self) -> Sequence[RunningCase]:
        """The cases that are being processed."""

    @property
    def elsewhere(self) -> Sequence[Case]:
        """The cases that other runs have."""

    def owner(self, case: Case) -> ProcessId | None:
        """Return the process of another run that has a case, as far as it is known."""

    def advance(self, should_stop: Callable[[], bool]) -> Iterator[tuple[RunningCase, Event]]:
        """Yield each case once when it is done, and perhaps before that.

        Cases that other runs have come last.

        Args:
            should_stop: no more cases are begun once it returns true, or there is a fatal error.

        Yields:
            A case, and what became of it: it is done; it made progress, and may be done a moment
            later; or another run has it, and there is nothing else to do.
        """


class Engine(Protocol):
    """Opens what segments the cases of a job."""

    def open(self, job: Job, shared: SharedFolder) -> AbstractContextManager[Runner]:
        """Return what segments the cases of a job.

        Raises:
            InputError: all results in the output folder were made with other settings.
        """
