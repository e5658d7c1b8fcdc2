"""The pipeline: scans are prepared, executed and finished at once.

One thread feeds each device and does nothing else; some prepare what it will execute next, some
finish what it has executed. How many scans are on their way at a time is bounded, and follows from
the memory that they need. They go in and come out in the order in which they are given.
"""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from wmh_runtime.backends.base import Backend
from wmh_runtime.cohort.scan_memory import format_gb
from wmh_runtime.errors import BackendError, DeviceLostError, InputError, WmhError
from wmh_runtime.inference.feeder import Feeder
from wmh_runtime.inference.packing import Again, Load
from wmh_runtime.inference.trace import OnSpan, ignore_span, record_span
from wmh_runtime.types import Floats

_MORE_MEMORY = "Close other programs, or use a machine with more memory."
_HEARS_CTRL_C_EVERY_S = 0.5  # Windows interrupts no wait


class Work(ABC):
    """One scan on its way. Each method is called once, in this order, by whatever thread is free.

    A WmhError or a MemoryError of any of them is the end of this scan and of no other.
    """

    @abstractmethod
    def bytes_needed(self) -> int:
        """Estimate the memory that it takes on its way."""

    @abstractmethod
    def is_finished(self) -> bool:
        """Say whether nothing is to be done."""

    @abstractmethod
    def preprocess(self) -> Floats:
        """Return the slices to execute, [N, C, S, S], N ≥ 1."""

    @abstractmethod
    def finish(self, load: Load) -> None:
        """Make the result of what the device gave."""


AnyWork = TypeVar("AnyWork", bound=Work)


@dataclass(eq=False)
class OnItsWay(Generic[AnyWork]):
    """A scan that was taken in."""

    work: AnyWork
    bytes_needed: int = 0
    refusal: InputError | None = None  # why it cannot be taken further, if it is not finished
    share: float = 0.0  # of its looks that came back, 0 to 1
    is_out: bool = False
    error: WmhError | None = None


class Pipeline(Generic[AnyWork]):
    """Takes scans over one or several devices, once.

    Args:
        backends: open, one for each device, all of the same network.
        again: decides which slices are looked at in seven more views; None: none is.
        free_bytes: tells the memory that scans may take, now and before each is taken in: what a
            network needs itself is taken only when it executes.
        helpers: threads that prepare, and as many that finish.
        is_to_end: asked now and then; once it says so, no more scans are taken in, and those on
            their way come out.
        on_span: hears of all that the threads do.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        again: Again | None,
        *,
        free_bytes: Callable[[], int],
        helpers: int,
        is_to_end: Callable[[], bool] = lambda: False,
        on_span: OnSpan = ignore_span,
    ) -> None:
        self._again = again
        self._on_span = on_span
        self._free_bytes = free_bytes
        self._free_at_first = free_bytes()  # a scan that takes more is refused
        self._most_on_their_way = len(backends) + 2 * helpers
        self._preparing = ThreadPoolExecutor(helpers, "preparing")
        self._finishing = ThreadPoolExecutor(helpers, "finishing")
        self._to_execute: queue.SimpleQueue[tuple[OnItsWay[AnyWork], Floats] | None] = (
            queue.SimpleQueue()
        )
        self._devices = [
            threading.Thread(target=self._feed, args=(backend,), name=f"device_{i}", daemon=True)
            for i, backend in enumerate(backends)
        ]
        self._inside: deque[OnItsWay[AnyWork]] = deque()  # in the order in which they come out
        self._changed = threading.Event()
        self._is_to_end = is_to_end
        self._broken: BaseException | None = None  # why nothing goes on
        self._is_abandoned = False

    def run(self, works: Iterable[AnyWork]) -> Iterator[OnItsWay[AnyWork]]:
        """Yield each scan when it is out, in order, and before that whenever it got further.

        Raises:
            DeviceLostError: a device is gone. What was executed before comes out before.
            KeyboardInterrupt: at once, whatever is on its way.
        """
        for device in self._devices:
            device.start()
        try:
            yield from self._take_in_and_out(works)
        except KeyboardInterrupt:
            raise  # who asks so does not want to wait
        except GeneratorExit:  # nobody takes what would come out
            self._is_abandoned = True
            self._end()
            raise
        except BaseException:
            self._end()
            raise
        self._end()
        yield from (one for one in self._inside if one.is_out)
        if self._broken is not None:
            raise self._broken

    def _end(self) -> None:
        """Wait until nothing is on its way."""
        self._preparing.shutdown(cancel_futures=True)
        for _ in self._devices:
            self._to_execute.put(None)
        for device in self._devices:
            device.join()
        self._finishing.shutdown(cancel_futures=self._is_abandoned)

    @property
    def on_their_way(self) -> int:
        """How many scans were taken in and are not out yet."""
        return sum(not one.is_out for one in tuple(self._inside))

    def _take_in_and_out(self, works: Iterable[AnyWork]) -> Iterator[OnItsWay[AnyWork]]:
        """Take scans in while there is room and yield what is out, in the caller's thread."""
        inside = self._inside
        coming = (self._announced(work) for work in works)
        following = next(coming, None)
        told = 0.0  # of the first
        while self._broken is None and (inside or following):
            self._changed.clear()
            if self._is_to_end():
                following = None
            first = inside[0] if inside else None
            if first and first.is_out:
                told = 0.0
                yield inside.popleft()
            elif following and self._has_room(following):
                inside.append(following)
                if not following.is_out:
                    self._preparing.submit(self._prepare, following)
                following = next(coming, None)
            elif first and first.share > told:
                told = first.share
                yield first
            else:
                self._changed.wait(_HEARS_CTRL_C_EVERY_S)

    def _announced(self, work: AnyWork) -> OnItsWay[AnyWork]:
        one = OnItsWay(work)
        with self._that_may_end(one):
            one.bytes_needed = work.bytes_needed()
            if one.bytes_needed > self._free_at_first:
                needed, free = format_gb(one.bytes_needed), format_gb(self._free_at_first)
                problem = f"needs about {needed} GB of memory, {free} are free"
                one.refusal, one.bytes_needed = InputError(problem, _MORE_MEMORY), 0
        return one

    def _has_room(self, following: OnItsWay[AnyWork]) -> bool:
        on_their_way = [one for one in self._inside if not one.is_out]
        if following.is_out or not on_their_way:
            return True  # it failed already and takes nothing, or has all to itself
        if len(on_their_way) >= self._most_on_their_way:
            return False
        taken = sum(one.bytes_needed for one in on_their_way)
        # About: what is taken in has not taken all of it yet.
        may_take = min(self._free_at_first, self._free_bytes() + taken)
        return taken + following.bytes_needed <= may_take

    def _prepare(self, one: OnItsWay[AnyWork]) -> None:
        with self._that_may_end(one):
            if one.work.is_finished():
                self._let_out(one)
            elif one.refusal is not None:
                raise one.refusal
            else:
                with record_span("prepare", self._on_span):
                    slices = one.work.preprocess()
                self._to_execute.put((one, slices))

    def _finish(self, one: OnItsWay[AnyWork], load: Load) -> None:
        with self._that_may_end(one):
            with record_span("finish", self._on_span):
                one.work.finish(load)
            self._let_out(one)

    @contextmanager
    def _that_may_end(self, one: OnItsWay[AnyWork]) -> Iterator[None]:
        """Let a scan out where it fails; what is nobody's error ends the pipeline."""
        try:
            yield
        except DeviceLostError as error:
            self._break(error)
        except (WmhError, MemoryError) as error:
            self._let_out(one, error)
        except BaseException as error:
            self._break(error)

    def _let_out(self, one: OnItsWay[AnyWork], error: WmhError | MemoryError | None = None) -> None:
        if isinstance(error, MemoryError):
            error = InputError("does not fit into memory", _MORE_MEMORY)
        one.error, one.is_out = error, True
        self._changed.set()

    def _break(self, error: BaseException) -> None:
        self._broken = self._broken or error  # the first is the cause of the others
        self._changed.set()

    def _feed(self, backend: Backend) -> None:
        try:
            Feeder(
                backend,
                self._again,
                self._to_execute,
                self,
                is_abandoned=lambda: self._is_abandoned,
                on_span=self._on_span,
            ).feed()
        except BaseException as error:  # told in the caller's thread
            self._break(error)

    # What the feeders say.

    def advanced(self, owner: OnItsWay[AnyWork], share: float) -> None:
        """A batch came back."""
        owner.share = share
        self._changed.set()

    def executed(self, owner: OnItsWay[AnyWork], load: Load) -> None:
        """A scan came back."""
        self._finishing.submit(self._finish, owner, load)

    def failed(self, owner: OnItsWay[AnyWork], error: BackendError | MemoryError) -> None:
        """The device refused a scan."""
        self._let_out(owner, error)
