"""The feeder: keeps one device busy with the slices of whatever scans come."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from wmh_runtime.backends.base import Backend, Collect
from wmh_runtime.errors import BackendError, DeviceLostError
from wmh_runtime.inference.packing import Again, Load, Look, Packer
from wmh_runtime.inference.trace import OnSpan, Span, ignore_span
from wmh_runtime.types import Floats

Owner = TypeVar("Owner")
_Owner = TypeVar("_Owner", contravariant=True)


class Receiver(Protocol[_Owner]):
    """Hears what becomes of the slices, in the feeder's thread."""

    def advanced(self, owner: _Owner, share: float) -> None:
        """This share of what is to be looked at has come back, 0 to 1."""

    def executed(self, owner: _Owner, load: Load) -> None:
        """All has come back."""

    def failed(self, owner: _Owner, error: BackendError | MemoryError) -> None:
        """The device refused one of its slices."""


@dataclass(frozen=True)
class _Submitted:
    """A batch under way."""

    looks: Sequence[Look]
    collect: Collect
    at: float  # seconds of the clock


class Feeder(Generic[Owner]):
    """Executes slices in full batches, or in what there is where no more have come.

    While the device executes one batch, the next is made ready.

    Args:
        backend: open.
        again: decides which slices are looked at in seven more views; None: none is.
        incoming: slices [N, C, S, S] with their owner; None ends it.
        receiver: of what comes back.
        is_abandoned: asked before each batch; once it says so, nothing more is executed.
        on_span: hears of each batch: from its beginning, or the end of the one before it.
    """

    def __init__(
        self,
        backend: Backend,
        again: Again | None,
        incoming: queue.SimpleQueue[tuple[Owner, Floats] | None],
        receiver: Receiver[Owner],
        *,
        is_abandoned: Callable[[], bool] = lambda: False,
        on_span: OnSpan = ignore_span,
    ) -> None:
        self._backend = backend
        self._packer = Packer(backend.batch_size, backend.shape.outputs, again)
        self._incoming = incoming
        self._receiver = receiver
        self._is_abandoned = is_abandoned
        self._on_span = on_span
        self._owners: dict[Load, Owner] = {}
        self._under_way: deque[_Submitted] = deque()
        self._apart: deque[Sequence[Look]] = deque()  # each of one scan, whose common batch failed
        self._collected_at = 0.0
        self._is_last = False

    def feed(self) -> None:
        """Execute until there is nothing left.

        Raises:
            DeviceLostError: the device is gone.
        """
        while not (self._is_done or self._is_abandoned()):
            self._take_in()
            if self._has_batch and len(self._under_way) < self._backend.max_in_flight:
                looks = self._apart.popleft() if self._apart else self._packer.batch()
                if not all(look.load.dropped for look in looks):
                    self._submit(looks)
            elif self._under_way:
                self._collect(self._under_way.popleft())

    @property
    def _is_done(self) -> bool:
        return self._is_last and not (len(self._packer) or self._apart or self._under_way)

    @property
    def _has_batch(self) -> bool:
        """Whether a batch is full, or will not become so before the device has nothing to do."""
        is_idle = not self._under_way
        return bool(self._apart) or self._packer.is_full or (is_idle and len(self._packer) > 0)

    def _take_in(self) -> None:
        """Take what has come, up to a full batch; wait for it only where nothing is to be done."""
        while not (self._is_last or self._packer.is_full):
            is_idle = not (len(self._packer) or self._apart or self._under_way)
            try:
                came = self._incoming.get(block=is_idle)
            except queue.Empty:
                return
            if came is None:
                self._is_last = True
                return
            owner, slices = came
            try:
                self._owners[self._packer.add(slices)] = owner
            except MemoryError as error:
                self._receiver.failed(owner, error)

    def _submit(self, looks: Sequence[Look]) -> None:
        at = time.perf_counter()
        try:
            collect = self._backend.submit([look.square for look in looks])
        except DeviceLostError:
            raise
        except (BackendError, MemoryError) as error:
            self._give_up(looks, error)
        else:
            self._under_way.append(_Submitted(looks, collect, at))

    def _collect(self, batch: _Submitted) -> None:
        looks = batch.looks
        try:
            given = batch.collect()
        except DeviceLostError:
            raise
        except (BackendError, MemoryError) as error:
            self._give_up(looks, error)
            return
        began, self._collected_at = max(batch.at, self._collected_at), time.perf_counter()
        worker = threading.current_thread().name
        self._on_span(Span("execute", worker, began, self._collected_at))
        for look in looks:
            look.load.seconds += (self._collected_at - began) / len(looks)
        complete = self._packer.collect(looks, given)
        for load in dict.fromkeys(look.load for look in looks if not look.load.dropped):
            self._receiver.advanced(self._owners[load], load.share)
        for load in complete:
            self._receiver.executed(self._owners.pop(load), load)

    def _give_up(self, looks: Sequence[Look], error: BackendError | MemoryError) -> None:
        """A batch failed: execute each scan of it apart, so that only one that fails is lost."""
        loads = list(dict.fromkeys(look.load for look in looks))
        if len(loads) > 1:
            self._apart.extend([look for look in looks if look.load is load] for load in loads)
        elif not loads[0].dropped:
            self._packer.drop(loads[0])
            self._receiver.failed(self._owners.pop(loads[0]), error)
