"""Graceful shutdown: the first Ctrl-C (or SIGTERM) asks the run to stop, the second ends it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # a cluster ends a job with SIGTERM
# `timeout` and some schedulers send one request twice, to the process and to its group. A person
# presses Ctrl-C more slowly.
_SAME_REQUEST_S = 0.1


class GracefulShutdown:
    """Catches SIGINT and SIGTERM within a `with` block; the second one raises KeyboardInterrupt.

    Python delivers signals to the main thread only. In another thread nothing is caught.

    Args:
        on_request: called at the first signal, in the middle of what the main thread does.
        on_abort: called at each later one, before KeyboardInterrupt is raised.
    """

    def __init__(
        self,
        on_request: Callable[[], None] = lambda: None,
        on_abort: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_request = on_request
        self._on_abort = on_abort
        self._requested_at: float | None = None
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._requested_at is not None

    def __enter__(self) -> Self:
        """Install the signal handlers."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._requested_at is None:
            self._requested_at = now
            self._on_request()
        elif now - self._requested_at >= _SAME_REQUEST_S:
            self._on_abort()
            raise KeyboardInterrupt
