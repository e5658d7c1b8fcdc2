"""The predictor: one thread per device runs the slices of all waiting scans in full batches.

The result of a slice depends on that slice alone. So slices of any scans may share a batch, and a
batch that fails is run again scan by scan: only a scan that fails alone is lost.
"""

from __future__ import annotations

import copy
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np

from wmh_runtime.backends.base import Backend, WaitForBatch
from wmh_runtime.errors import BackendError, DeviceLostError
from wmh_runtime.inference.trace import OnSpan, Span, ignore_span
from wmh_runtime.tta import VIEWS, View
from wmh_runtime.types import Floats, Prediction

_FIRST_VIEW, *_OTHER_VIEWS = VIEWS
NeedsAllViews = Callable[[Floats], bool]  # decides from the first view of a slice, [K, S, S]
OnProgress = Callable[[float], None]  # gets the share of a scan that is done, 0 to 1


@dataclass(eq=False)
class _Request:
    """The slices of one scan, and what has come back of them."""

    slices: Floats  # [N, C, S, S]
    on_progress: OnProgress
    prediction: Prediction
    remaining: int  # views that have not come back
    other_views: dict[int, dict[View, Floats]] = field(default_factory=dict)  # by slice
    result: Future[Prediction] = field(default_factory=Future)  # cancelled: nobody waits for it

    def accept(self, index: int, view: View, probability: Floats) -> None:
        """Store one view of a slice; the eight are summed in a fixed order, for equal bits."""
        self.remaining -= 1
        if view is _FIRST_VIEW:
            self.prediction.probability[index] = probability
            return
        views = self.other_views.setdefault(index, {})
        views[view] = view.undo(probability)
        if len(views) == len(_OTHER_VIEWS):
            for other in _OTHER_VIEWS:
                self.prediction.probability[index] += views[other]
            self.prediction.probability[index] /= len(VIEWS)
            del self.other_views[index]


_View = tuple[_Request, int, View]  # one view of one slice: the scan, the slice's index, the view


class Predictor:
    """Predicts several scans at a time, within a `with` block. Many threads may call `predict`.

    If a device fails, the other devices finish the scans that they have begun. Nothing new is
    accepted.

    Args:
        backends: open, one for each device, all of the same network.
        needs_all_views: decides whether a slice is run in the other seven views too (adaptive
            test-time augmentation). None: no slice is.
        on_span: is called after each batch.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        needs_all_views: NeedsAllViews | None = None,
        on_span: OnSpan = ignore_span,
    ) -> None:
        self._outputs = backends[0].shape.outputs
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._error: BaseException | None = BackendError(  # why nothing is accepted
            "the segmenter is not open", "Use it in a with statement."
        )
        workers = [_Worker(one, self._requests, needs_all_views, on_span) for one in backends]
        self._threads = [
            threading.Thread(target=self._serve, args=(worker,), name=f"device_{i}", daemon=True)
            for i, worker in enumerate(workers)
        ]

    def __enter__(self) -> Self:
        """Start the threads."""
        self._error = None
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the threads after the batches in flight. Scans that still wait fail."""
        self._is_closed = True
        self._stop(BackendError("the segmenter is closed", "Use it within its with statement."))
        for thread in self._threads:
            thread.join()

    def predict(self, slices: Floats, on_progress: OnProgress = lambda _: None) -> Prediction:
        """Run the network on the slices of one scan, and wait for the result.

        Args:
            slices: float32 [N, C, S, S].
            on_progress: called in a device's thread with the share of views that came back, 0 to
                1. The share may go down when adaptive views are added. What it raises is raised
                here.

        Raises:
            BackendError: the execution failed for this scan.
            DeviceLostError: a device failed; nothing is predicted any more.
        """
        count, _, *size = slices.shape
        prediction = Prediction(np.empty((count, self._outputs, *size), np.float32))
        request = _Request(slices, on_progress, prediction, remaining=count)
        with self._lock:
            if self._error is not None:
                raise _copy(self._error)
            if count == 0:
                return prediction
            self._requests.put(request)
        try:
            return request.result.result()
        except BaseException:  # such as Ctrl-C: the slices that remain are not run
            request.result.cancel()
            raise

    def _serve(self, worker: _Worker) -> None:
        def is_stopped() -> bool:
            return self._is_closed or (self._error is not None and not worker.begun)

        try:
            worker.run(is_stopped)
        except BaseException as error:  # is raised by `predict`
            self._stop(error)
        assert self._error is not None
        for request in worker.begun:
            _set_error(request, self._error)

    def _stop(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
            with suppress(queue.Empty):
                while True:
                    if (request := self._requests.get_nowait()) is not None:
                        _set_error(request, self._error)
            for _ in self._threads:  # wakes each of them
                self._requests.put(None)


class _Worker:
    """Keeps one device busy: packs views into batches and collects what they give.

    While the device runs one batch, the next one is prepared. Other views go before first views,
    so that one scan is finished before the next is begun.
    """

    def __init__(
        self,
        backend: Backend,
        requests: queue.SimpleQueue[_Request | None],
        needs_all_views: NeedsAllViews | None,
        on_span: OnSpan,
    ) -> None:
        self.begun: set[_Request] = set()  # neither finished nor failed
        self._backend = backend
        self._requests = requests
        self._needs_all_views = needs_all_views
        self._on_span = on_span
        self._first_views: deque[_View] = deque()
        self._other_views: deque[_View] = deque()
        self._retries: deque[list[_View]] = deque()  # each of one scan
        self._in_flight: deque[tuple[list[_View], WaitForBatch, float]] = deque()
        self._collected_s = 0.0

    def run(self, is_stopped: Callable[[], bool]) -> None:
        """Run batches until stopped; DeviceLostError if the device fails."""
        backend = self._backend
        while not is_stopped():
            self._receive()
            is_enough = self._waiting >= (backend.batch_size if self._in_flight else 1)
            if (self._retries or is_enough) and len(self._in_flight) < backend.max_in_flight:
                self._submit(self._retries.popleft() if self._retries else self._next_batch())
            elif self._in_flight:
                self._collect(*self._in_flight.popleft())

    @property
    def _waiting(self) -> int:
        return len(self._first_views) + len(self._other_views)

    def _receive(self) -> None:
        """Take new scans, up to a full batch; wait for one only if there is nothing else to do."""
        while self._waiting < self._backend.batch_size:
            is_idle = not (self._waiting or self._retries or self._in_flight)
            try:
                request = self._requests.get(block=is_idle)
            except queue.Empty:
                return
            if request is None:
                return
            if request.result.cancelled():
                del request  # and its slices, while the next one is waited for
                continue
            self.begun.add(request)
            self._first_views.extend((request, i, _FIRST_VIEW) for i in range(len(request.slices)))

    def _next_batch(self) -> list[_View]:
        count = min(self._backend.batch_size, self._waiting)
        return [(self._other_views or self._first_views).popleft() for _ in range(count)]

    def _submit(self, batch: list[_View]) -> None:
        batch = [view for view in batch if self._is_awaited(view[0])]
        if not batch:
            return
        began_s = time.perf_counter()
        try:
            images = [view.apply(request.slices[index]) for request, index, view in batch]
            self._in_flight.append((batch, self._backend.submit(images), began_s))
        except Exception as error:
            self._fail(batch, error)

    def _is_awaited(self, request: _Request) -> bool:
        """Say whether a scan has neither failed nor been cancelled."""
        if request.result.cancelled():
            self.begun.discard(request)
        return request in self.begun

    def _collect(self, batch: list[_View], collect: WaitForBatch, began_s: float) -> None:
        try:
            outputs = list(zip(batch, collect(), strict=True))
            began_s, self._collected_s = max(began_s, self._collected_s), time.perf_counter()
            span = Span("predict", threading.current_thread().name, began_s, self._collected_s)
            self._on_span(span)
        except Exception as error:
            self._fail(batch, error)
            return
        for view, probability in outputs:
            if self._is_awaited(view[0]):
                view[0].prediction.seconds += span.seconds / len(batch)
                self._accept(view, probability)
        for request in {request: None for request, _, _ in batch if request in self.begun}:
            self._report(request)

    def _accept(self, one_view: _View, probability: Floats) -> None:
        """Store one view; ask for the other seven if it shows that they are needed."""
        request, index, view = one_view
        try:
            request.accept(index, view, probability)
            if view is _FIRST_VIEW and self._needs_all_views and self._needs_all_views(probability):
                request.prediction.slices_in_all_views += 1
                request.remaining += len(_OTHER_VIEWS)
                self._other_views.extend((request, index, other) for other in _OTHER_VIEWS)
        except Exception as error:  # concerns this scan only
            self._give_up(request, error)

    def _report(self, request: _Request) -> None:
        """Report the progress of a scan, and its prediction if that is complete."""
        views = len(request.slices) + len(_OTHER_VIEWS) * request.prediction.slices_in_all_views
        try:
            request.on_progress((views - request.remaining) / views)
        except BaseException as error:  # concerns this scan only
            self._give_up(request, error)
            return
        if request.remaining == 0:
            self.begun.remove(request)
            with suppress(InvalidStateError):  # cancelled at this moment
                request.result.set_result(request.prediction)

    def _fail(self, batch: list[_View], error: Exception) -> None:
        """Run each scan of a failed batch alone; a scan that fails alone is lost."""
        if isinstance(error, DeviceLostError):
            raise error
        requests = {request: None for request, _, _ in batch}
        if len(requests) > 1:
            self._retries.extend([v for v in batch if v[0] is one] for one in requests)
        elif (request := batch[0][0]) in self.begun:
            self._give_up(request, error)

    def _give_up(self, request: _Request, error: BaseException) -> None:
        self.begun.remove(request)
        _set_error(request, error)


def _set_error(request: _Request, error: BaseException) -> None:
    with suppress(InvalidStateError):  # it is cancelled
        request.result.set_exception(_copy(error))


def _copy(error: BaseException) -> BaseException:
    """Return an error for one scan: its own traceback, which keeps no other scan in memory.

    A note has the traceback of the original as text.
    """
    try:
        copied = copy.copy(error).with_traceback(None)
    except Exception:  # its class cannot be copied
        return error
    copied.__notes__ = ["".join(traceback.format_exception(error))]  # the list may be shared
    return copied
