"""Ctrl-C and the system's request to end, heard where work can be left off and not amid it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # SIGTERM is how a cluster ends a job


class Interruption:
    """Listens for requests to end while it is entered; a second request ends at once.

    Signals reach the main thread alone; in another one nothing is listened for.

    Args:
        on_request: called at the first one, amid whatever the main thread does.
    """

    def __init__(self, on_request: Callable[[], None] = lambda: None) -> None:
        self.requested = False
        self._on_request = on_request
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Leave signals to whom they were left to before."""
        self._restore()

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        self._restore()
        self._on_request()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
