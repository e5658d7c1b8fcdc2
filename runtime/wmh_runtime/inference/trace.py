"""Trace a run: which thread worked on which stage, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Stage = Literal["read", "preprocess", "predict", "postprocess", "write"]


@dataclass(frozen=True)
class Span:
    """One stretch of work of one thread."""

    stage: Stage
    worker: str  # name of the thread
    began_s: float  # of `time.perf_counter`
    ended_s: float

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.ended_s - self.began_s


OnSpan = Callable[[Span], None]  # called in the thread that did the work


def ignore_span(_span: Span) -> None:
    """Trace nothing."""


class StageTimes:
    """Times the stages of one scan: `with stage("read"): …`."""

    def __init__(self, on_span: OnSpan) -> None:
        self.seconds: dict[str, float] = {}  # by stage
        self._on_span = on_span

    @contextmanager
    def __call__(self, stage: Stage) -> Iterator[None]:
        """Time the block, and report it even if it raises."""
        began_s = time.perf_counter()
        try:
            yield
        finally:
            span = Span(stage, threading.current_thread().name, began_s, time.perf_counter())
            self.seconds[stage] = span.seconds
            self._on_span(span)
