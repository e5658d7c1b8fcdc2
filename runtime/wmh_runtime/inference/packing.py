"""Packing: slices of whatever scans come share full batches, and each scan gets its own back.

Nothing here waits, reads or computes: what a slice becomes is decided by the slice alone, so it
does not matter which others it shared a batch with, or when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from wmh_runtime.tta import VIEWS, View
from wmh_runtime.types import Floats

_FIRST, *_OTHERS = VIEWS
Again = Callable[[Floats], bool]  # says of [K, S, S] whether its slice is worth seven more views


@dataclass(eq=False)
class Load:
    """The slices of one scan, on their way through the device."""

    slices: Floats  # [N, C, S, S]
    probability: Floats  # [N, K, S, S], complete when nothing is left
    left: int  # looks that have not come back
    looked_again: int = 0  # slices that were not certainly empty
    seconds: float = 0.0  # of the device, its share of common batches
    dropped: bool = False
    others: dict[int, dict[View, Floats]] = field(default_factory=dict)  # by place, so far

    @property
    def share(self) -> float:
        """What share of the looks known so far has come back, 0 to 1."""
        return 1 - self.left / max(1, len(self.slices) + len(_OTHERS) * self.looked_again)


@dataclass(frozen=True)
class Look:
    """One view of one slice."""

    load: Load
    place: int  # of the slice in its load
    view: View = _FIRST

    @property
    def square(self) -> Floats:
        """What the network is shown, [C, S, S]."""
        seen: Floats = self.view.apply(self.load.slices[self.place])
        return seen


class Packer:
    """Deals out batches of looks and collects what they gave.

    Args:
        batch_size: looks in a batch, at most.
        outputs: K.
        again: decides which slices are looked at in the other seven views; None: no slice is.
    """

    def __init__(self, batch_size: int, outputs: int, again: Again | None = None) -> None:
        self._batch_size = batch_size
        self._outputs = outputs
        self._again = again
        self._first: deque[Look] = deque()
        self._others: deque[Look] = deque()  # before new slices, so that a scan comes to its end

    def __len__(self) -> int:
        """How many looks wait."""
        return len(self._first) + len(self._others)

    @property
    def is_full(self) -> bool:
        """Whether a whole batch waits."""
        return len(self) >= self._batch_size

    def add(self, slices: Floats) -> Load:
        """Take in the slices of a scan, [N, C, S, S], at least one."""
        count, _, rows, columns = slices.shape
        probability = np.empty((count, self._outputs, rows, columns), np.float32)
        load = Load(slices, probability, left=count)
        self._first.extend(Look(load, place) for place in range(count))
        return load

    def drop(self, load: Load) -> None:
        """Forget a scan; what comes back of it is not collected."""
        load.dropped = True
        for waiting in (self._first, self._others):
            kept = [look for look in waiting if look.load is not load]
            waiting.clear()
            waiting.extend(kept)

    def batch(self) -> list[Look]:
        """Return the next looks, at most a batch of them; none where none wait."""
        return [
            (self._others or self._first).popleft() for _ in range(min(self._batch_size, len(self)))
        ]

    def collect(self, batch: Sequence[Look], given: Floats) -> list[Load]:
        """Take what a batch gave, [≥ its length, K, S, S]; return the scans that are complete."""
        complete = []
        for look, probability in zip(batch, given, strict=False):  # a padded batch gives more
            if look.load.dropped:
                continue
            self._collect_one(look, probability)
            if look.load.left == 0:
                complete.append(look.load)
        return complete

    def _collect_one(self, look: Look, probability: Floats) -> None:
        load, place = look.load, look.place
        load.left -= 1
        if look.view is _FIRST:
            load.probability[place] = probability
            if self._again is not None and self._again(probability):
                load.left += len(_OTHERS)
                load.looked_again += 1
                self._others.extend(Look(load, place, view) for view in _OTHERS)
            return
        others = load.others.setdefault(place, {})
        others[look.view] = look.view.undo(probability)
        if len(others) == len(_OTHERS):
            for view in _OTHERS:  # whichever came first: always the same sum
                load.probability[place] += others[view]
            load.probability[place] /= len(VIEWS)
            del load.others[place]
