"""Many scans share the batches of a device; each gets its own slices back, whatever fails."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmh_runtime.backends.base import BlockingBackend
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.errors import BackendError, DeviceLostError
from wmh_runtime.inference.predictor import Predictor, _Request
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import NetworkShape, Prediction

SIDE_PX = 3
SHAPE = NetworkShape(channels=1, outputs=1, size_px=SIDE_PX)


class CornerBackend(BlockingBackend):
    """A network without symmetries: it returns its input, and adds 100 in one corner."""

    name = "corner"
    device = "none"
    precision = "fp32"

    def __init__(self, batch_size=1):
        super().__init__(SHAPE, batch_size)
        self.batches = []  # the slices of each batch, without padding

    def _open(self):
        pass

    def _close(self):
        pass

    def submit(self, squares):
        self.batches.append(np.array(squares))
        return super().submit(squares)

    def _execute(self, batch):
        return corner(batch)


def corner(squares):
    outputs = np.array(squares, np.float32)
    outputs[..., 0, 0] += 100
    return outputs


def scan(count, number):
    """Slices whose values differ from those of every other scan."""
    values = np.arange(count * SIDE_PX**2, dtype=np.float32) + 1000 * (number + 1)
    return values.reshape(count, 1, SIDE_PX, SIDE_PX)


def predict_all(scans, *backends, needs_all_views=None):
    """Predict scans from one thread each; return predictions and errors in the order of scans."""

    def predict(slices):
        try:
            return predictor.predict(slices)
        except (BackendError, MemoryError) as error:
            return error

    for backend in backends:
        backend.__enter__()  # there is nothing to close
    with (
        Predictor(backends, needs_all_views) as predictor,
        ThreadPoolExecutor(max(1, len(scans))) as pool,
    ):
        return list(pool.map(predict, scans))


@settings(max_examples=40)
@given(
    counts=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    batch_size=st.integers(1, 5),
    devices=st.integers(1, 3),
)
def test_each_scan_gets_its_own_slices_back(counts, batch_size, devices):
    scans = [scan(count, number) for number, count in enumerate(counts)]
    backends = [CornerBackend(batch_size) for _ in range(devices)]
    predictions = predict_all(scans, *backends)
    for slices, prediction in zip(scans, predictions, strict=True):
        np.testing.assert_array_equal(prediction.probability, corner(slices))
        assert prediction.slices_in_all_views == 0
        assert prediction.seconds > 0
    sent = np.concatenate([batch for backend in backends for batch in backend.batches])
    assert len(sent) == sum(counts)


def test_slices_of_several_scans_share_batches():
    # Ten scans of 3 slices, all waiting before the device begins: 30 slices in batches of 4 are
    # 8 batches; scan by scan they would be 20.
    begin = threading.Event()

    class Waiting(CornerBackend):
        def _execute(self, batch):
            begin.wait(5)
            return super()._execute(batch)

    backend = Waiting(4)
    threading.Timer(0.3, begin.set).start()
    predict_all([scan(3, number) for number in range(10)], backend)
    # The first batches hold what had arrived when the device was free.
    assert len(backend.batches) <= 9


@settings(max_examples=40)
@given(
    needed=st.lists(st.booleans(), min_size=1, max_size=6),
    batch_size=st.integers(1, 5),
)
def test_slices_that_may_contain_lesions_get_the_other_seven_views(needed, batch_size):
    slices = scan(len(needed), 0)
    chosen = {float(slices[i, 0, 1, 1]) for i, is_needed in enumerate(needed) if is_needed}
    backend = CornerBackend(batch_size)
    (prediction,) = predict_all(
        [slices], backend, needs_all_views=lambda output: float(output[0, 1, 1]) in chosen
    )
    assert sum(map(len, backend.batches)) == len(needed) + 7 * sum(needed)
    assert prediction.slices_in_all_views == sum(needed)
    for i, is_needed in enumerate(needed):
        views = VIEWS if is_needed else VIEWS[:1]
        expected = np.mean([v.undo(corner(v.apply(slices[i]))) for v in views], axis=0)
        np.testing.assert_allclose(prediction.probability[i], expected, rtol=1e-6)


@settings(max_examples=40)
@given(
    counts=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    failing=st.sets(st.integers(0, 30)),
    batch_size=st.integers(1, 8),
)
def test_a_batch_that_fails_once_changes_no_bit(counts, failing, batch_size):
    class Hiccup(CornerBackend):
        """Refuses some batches of several scans, and never those of one scan."""

        def _execute(self, batch):
            numbers = {int(value) // 1000 for value in batch[:, 0, 1, 1]} - {0}  # 0 is padding
            if len(self.batches) in failing and len(numbers) > 1:
                raise BackendError("hiccup")
            return super()._execute(batch)

    scans = [scan(count, number) / 7 for number, count in enumerate(counts)]
    alone = predict_all(scans, CornerBackend(1), needs_all_views=lambda _: True)
    together = predict_all(scans, Hiccup(batch_size), needs_all_views=lambda _: True)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.probability, other.probability)


@given(order=st.permutations(VIEWS[1:]))
def test_views_in_any_order_add_up_to_the_same_bits(order):
    slices = scan(1, 0) / 7
    sums = []
    for views in (VIEWS[1:], order):
        request = _Request(slices, print, Prediction(np.empty_like(slices)), remaining=8)
        for view in (VIEWS[0], *views):
            request.accept(0, view, corner(view.apply(slices[0])))
        assert request.remaining == 0
        sums.append(request.prediction.probability)
    np.testing.assert_array_equal(*sums)


@settings(max_examples=40)
@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    refused=st.sets(st.integers(0, 4)),
    batch_size=st.integers(1, 8),
    in_submit=st.booleans(),
)
def test_only_the_scan_that_fails_alone_is_lost(counts, refused, batch_size, in_submit):
    class Picky(CornerBackend):
        def _refuse(self, squares):
            if refused & {int(square.flat[0]) // 1000 - 1 for square in squares}:
                raise BackendError("refused")

        def submit(self, squares):
            if in_submit:
                self._refuse(squares)
            return super().submit(squares)

        def _execute(self, batch):
            if not in_submit:
                self._refuse(batch)
            return super()._execute(batch)

    scans = [scan(count, number) for number, count in enumerate(counts)]
    predictions = predict_all(scans, Picky(batch_size))
    for number, prediction in enumerate(predictions):
        if number in refused:
            assert isinstance(prediction, BackendError)
        else:
            np.testing.assert_array_equal(prediction.probability, corner(scans[number]))


def test_a_scan_whose_batch_does_not_fit_into_memory_fails_alone():
    class Small(CornerBackend):
        def submit(self, squares):
            if any(square.flat[0] >= 2000 for square in squares):
                raise MemoryError
            return super().submit(squares)

    first, second = predict_all([scan(2, 0), scan(2, 1)], Small(4))
    np.testing.assert_array_equal(first.probability, corner(scan(2, 0)))
    assert isinstance(second, MemoryError)


def test_a_lost_device_fails_every_scan_now_and_later():
    class Lost(CornerBackend):
        def _execute(self, batch):
            raise DeviceLostError("fell off the bus")

    with Lost(2) as backend, Predictor([backend]) as predictor:
        for number in range(3):
            with pytest.raises(DeviceLostError, match="fell off the bus"):
                predictor.predict(scan(3, number))


def test_an_error_of_one_scan_holds_nothing_of_another():
    # Each caller gets an exception of its own: a shared one would collect all their tracebacks.
    class Lost(CornerBackend):
        def _execute(self, batch):
            raise DeviceLostError("fell off the bus", "Check it.", about="GPU")

    errors = []
    with Lost(2) as backend, Predictor([backend]) as predictor:
        for number in range(3):
            with pytest.raises(DeviceLostError) as raised:
                predictor.predict(scan(3, number))
            errors.append(raised.value)
    assert len({id(error) for error in errors}) == 3
    assert {str(error) for error in errors} == {"GPU: fell off the bus. Check it."}
    assert {(error.problem, error.remedy) for error in errors} == {
        ("fell off the bus", "Check it.")
    }


def test_what_the_progress_callback_raises_fails_its_scan_only():
    def refuse(share):
        raise RuntimeError("no more")

    with CornerBackend(2) as backend, Predictor([backend]) as predictor:
        with pytest.raises(RuntimeError, match="no more"):
            predictor.predict(scan(5, 0), refuse)
        prediction = predictor.predict(scan(3, 1))
    np.testing.assert_array_equal(prediction.probability, corner(scan(3, 1)))


def test_what_the_trace_callback_raises_does_not_end_the_device():
    refused = iter([True])

    def refuse_once(span):
        if next(refused, False):
            raise RuntimeError("no more")

    with CornerBackend(2) as backend, Predictor([backend], on_span=refuse_once) as predictor:
        with pytest.raises(RuntimeError, match="no more"):
            predictor.predict(scan(1, 0))
        prediction = predictor.predict(scan(3, 1))
    np.testing.assert_array_equal(prediction.probability, corner(scan(3, 1)))


class OddError(Exception):
    """An exception that cannot be copied, because it needs two arguments."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


@pytest.mark.parametrize("where", ["submit", "execute", "shape", "count", "views"])
def test_a_bug_met_with_one_scan_fails_that_scan_only(where):
    class Buggy(CornerBackend):
        def submit(self, squares):
            is_first = squares[0].flat[0] < 2000
            if where == "submit" and is_first:
                raise OddError(1, 2)
            collect = super().submit(squares)
            if where == "count" and is_first:
                return lambda: collect()[:-1]
            return (lambda: np.zeros((1, 7, 7))) if where == "shape" and is_first else collect

        def _execute(self, batch):
            if where == "execute" and (batch < 2000).all():
                raise ZeroDivisionError
            return super()._execute(batch)

    def needs_all_views(output):
        if where == "views" and output.flat[1] < 2000:
            raise KeyError("threshold")
        return False

    with Buggy(1) as backend, Predictor([backend], needs_all_views) as predictor:
        with pytest.raises((OddError, ZeroDivisionError, ValueError, KeyError)):
            predictor.predict(scan(2, 0))
        prediction = predictor.predict(scan(3, 1))
    np.testing.assert_array_equal(prediction.probability, corner(scan(3, 1)))


def test_the_error_of_a_scan_says_where_a_bug_is():
    class Buggy(CornerBackend):
        def submit(self, squares):
            return squares[99]

    with (
        Buggy(1) as backend,
        Predictor([backend]) as predictor,
        pytest.raises(IndexError) as raised,
    ):
        predictor.predict(scan(2, 0))
    assert "return squares[99]" in "".join(raised.value.__notes__)


def test_a_scan_that_nobody_waits_for_runs_no_more_slices():
    # Ctrl-C interrupts the wait for the result; here a signal handler does the same.
    class Interrupting(CornerBackend):
        def _execute(self, batch):
            if not begin.is_set():
                signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
                begin.wait(5)
            return super()._execute(batch)

    def interrupt(_number, _frame):
        raise KeyboardInterrupt

    begin = threading.Event()
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with Interrupting(1) as backend, Predictor([backend]) as predictor:
            with pytest.raises(KeyboardInterrupt):
                predictor.predict(scan(50, 0))
            begin.set()
            prediction = predictor.predict(scan(3, 1))
        np.testing.assert_array_equal(prediction.probability, corner(scan(3, 1)))
    finally:
        signal.signal(signal.SIGUSR1, before)
    # Two batches may be on the device, and one more may be on its way.
    assert len(backend.batches) <= 3 + 3


def test_a_predictor_that_is_not_open_says_so():
    with pytest.raises(BackendError, match=r"is not open\. Use it in a with statement"):
        Predictor([CornerBackend()]).predict(scan(1, 0))


def test_no_slices_give_no_probabilities():
    with CornerBackend() as backend, Predictor([backend]) as predictor:
        assert predictor.predict(scan(0, 0)).probability.shape == (0, 1, SIDE_PX, SIDE_PX)


def test_an_unexpected_error_reaches_the_caller():
    class Broken(CornerBackend):
        def _execute(self, batch):
            raise ZeroDivisionError

    with (
        Broken() as backend,
        Predictor([backend]) as predictor,
        pytest.raises(ZeroDivisionError),
    ):
        predictor.predict(scan(1, 0))


def test_a_closed_predictor_fails_the_scans_that_wait():
    begin = threading.Event()

    class Waiting(CornerBackend):
        def _execute(self, batch):
            begin.wait(5)
            return super()._execute(batch)

    with ThreadPoolExecutor(2) as pool, Waiting() as backend:
        with Predictor([backend]) as predictor:
            waiting = [pool.submit(predictor.predict, scan(9, number)) for number in range(2)]
            while not backend.batches:
                pass
            begin.set()
        assert all(isinstance(one.exception(), BackendError) for one in waiting)
    sent = len(backend.batches)
    assert sent < 18
    with pytest.raises(BackendError, match="closed"):
        predictor.predict(scan(1, 0))


def test_a_scan_with_all_views_is_finished_before_the_next_is_begun():
    begin = threading.Event()

    class Waiting(CornerBackend):
        def _execute(self, batch):
            begin.wait(5)
            return super()._execute(batch)

    backend = Waiting(1)
    threading.Timer(0.2, begin.set).start()
    predict_all([scan(1, 0), scan(1, 1)], backend, needs_all_views=lambda _: True)
    numbers = [int(batch.max()) // 1000 for batch in backend.batches]
    # Two batches are in flight, so the first view of the next scan is submitted early: 1 2 1 … 2 ….
    assert sum(one != other for one, other in pairwise(numbers)) <= 3


def test_progress_counts_the_views_that_are_added():
    # One slice: the first view is 1 of 8 as soon as all views turn out to be needed.
    shares = []
    with CornerBackend() as backend, Predictor([backend], lambda _: True) as predictor:
        predictor.predict(scan(1, 0), shares.append)
    assert shares == [done / 8 for done in range(1, 9)]


def test_two_batches_are_in_flight():
    # A device that runs one batch at a time is given the next one before it has finished.
    class Counting(FakeBackend):
        def __init__(self):
            super().__init__(SHAPE, 1)
            self.now = self.most = 0

        def submit(self, squares):
            collect = super().submit(squares)
            self.now += 1
            self.most = max(self.most, self.now)

            def collected():
                self.now -= 1
                return collect()

            return collected

    with Counting() as backend, Predictor([backend]) as predictor:
        predictor.predict(np.zeros((20, *SHAPE.input_shape), np.float32))
    assert backend.most == backend.max_in_flight == 2
