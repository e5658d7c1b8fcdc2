"""Ctrl-C and the system's request to end, heard where work can be left off and not amid it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # SIGTERM is how a cluster ends a job
# `timeout` and some schedulers signal a process and its group, so that it hears one request twice;
# who presses Ctrl-C twice is slower.
_SAME_REQUEST_S = 0.1


class GracefulShutdown:
    """Listens for requests to end while it is entered; a second one is a KeyboardInterrupt.

    Signals reach the main thread alone; in another one nothing is listened for.

    Args:
        on_request: called at the first one, amid whatever the main thread does.
    """

    def __init__(self, on_request: Callable[[], None] = lambda: None) -> None:
        self._on_request = on_request
        self._requested_at: float | None = None
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether the end was asked for."""
        return self._requested_at is not None

    def __enter__(self) -> Self:
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Leave signals to whom they were left to before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._requested_at is None:
            self._requested_at = now
            self._on_request()
        elif now - self._requested_at >= _SAME_REQUEST_S:
            raise KeyboardInterrupt
