"""The feeder: keeps one device busy with the slices of whatever scans come."""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from wmh_runtime.backends.base import Backend
from wmh_runtime.errors import BackendError, DeviceLostError
from wmh_runtime.packing import Again, Load, Look, Packer
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


class Feeder(Generic[Owner]):
    """Executes slices in full batches, or in what there is where no more have come.

    Args:
        backend: open.
        again: decides which slices are looked at in seven more views; None: none is.
        incoming: slices [N, C, S, S] with their owner; None ends it.
        receiver: of what comes back.
    """

    def __init__(
        self,
        backend: Backend,
        again: Again | None,
        incoming: queue.SimpleQueue[tuple[Owner, Floats] | None],
        receiver: Receiver[Owner],
    ) -> None:
        self._backend = backend
        self._packer = Packer(backend.batch_size, backend.shape.outputs, again)
        self._incoming = incoming
        self._receiver = receiver
        self._owners: dict[Load, Owner] = {}

    def feed(self) -> None:
        """Execute until there is nothing left.

        Raises:
            DeviceLostError: the device is gone.
        """
        is_last = False
        while not (is_last and len(self._packer) == 0):
            while not (is_last or self._packer.is_full):
                try:
                    came = self._incoming.get(block=len(self._packer) == 0)
                except queue.Empty:
                    break
                if came is None:
                    is_last = True
                else:
                    self._take_in(*came)
            if batch := self._packer.batch():
                self._execute(batch)

    def _take_in(self, owner: Owner, slices: Floats) -> None:
        try:
            self._owners[self._packer.add(slices)] = owner
        except MemoryError as error:
            self._receiver.failed(owner, error)

    def _execute(self, batch: Sequence[Look]) -> None:
        """Execute a batch; where it fails, each scan of it alone, so that the others go on."""
        started = time.perf_counter()
        try:
            given = self._backend.execute([look.square for look in batch])
        except DeviceLostError:
            raise
        except (BackendError, MemoryError) as error:
            loads = list(dict.fromkeys(look.load for look in batch))
            if len(loads) > 1:
                for load in loads:
                    self._execute([look for look in batch if look.load is load])
            else:
                self._packer.drop(loads[0])
                self._receiver.failed(self._owners.pop(loads[0]), error)
            return
        seconds = time.perf_counter() - started
        for look in batch:
            look.load.seconds += seconds / len(batch)
        complete = self._packer.collect(batch, given)
        for load in dict.fromkeys(look.load for look in batch):
            self._receiver.advanced(self._owners[load], load.share)
        for load in complete:
            self._receiver.executed(self._owners.pop(load), load)
