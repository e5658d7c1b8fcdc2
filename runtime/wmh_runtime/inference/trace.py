"""Spans: what each worker of a run did, and when. A run tells them to whoever listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Stage = Literal["prepare", "execute", "finish"]


@dataclass(frozen=True)
class Span:
    """One stretch of work."""

    stage: Stage
    worker: str  # its thread: a device's, or one that prepares or finishes
    began_s: float  # of `time.perf_counter`
    ended_s: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended_s - self.began_s


OnSpan = Callable[[Span], None]  # is called in the worker's thread


def ignore_span(_span: Span) -> None:
    """Listen to nothing."""


@contextmanager
def record_span(stage: Stage, on_span: OnSpan) -> Iterator[None]:
    """Tell how long the block took, however it ends."""
    began_s = time.perf_counter()
    try:
        yield
    finally:
        on_span(Span(stage, threading.current_thread().name, began_s, time.perf_counter()))
