"""Scans on their way over devices: all at once, in order, in bounded number, whatever fails."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.cohort.pipeline import Pipeline, Work
from wmh_runtime.errors import BackendError, DeviceLostError, InputError
from wmh_runtime.types import NetworkShape

SHAPE = NetworkShape(channels=1, outputs=1, size_px=2)
STAGES = ("prepare", "execute", "finish")


class Scan(Work):
    """A scan of some slices that all have one value."""

    def __init__(self, value, count=3, needs=1, prepare_s=0.0, finish_s=0.0, fails=None):
        self.value, self.count, self.needs = value, count, needs
        self.prepare_s, self.finish_s, self.fails = prepare_s, finish_s, fails
        self.found = None

    def bytes_needed(self):
        return self.needs

    def is_finished(self):
        return self.count == 0

    def preprocess(self):
        time.sleep(self.prepare_s)
        if self.fails == "prepare":
            raise InputError("is broken")
        if self.fails == "memory":
            raise MemoryError
        if self.fails == "bug":
            raise ZeroDivisionError
        return np.full((self.count, *SHAPE.slice_in), self.value, np.float32)

    def finish(self, load):
        time.sleep(self.finish_s)
        if self.fails == "finish":
            raise InputError("cannot be written")
        self.found = load.probability


class Refusing(FakeBackend):
    """Fails on every batch with a slice of one value."""

    def __init__(self, value, error, batch_size=1):
        super().__init__(SHAPE, batch_size)
        self.value, self.error = value, error

    def _execute(self, batch):
        if (batch == self.value).any():
            raise self.error
        return super()._execute(batch)


def logistic(value):
    return 1 / (1 + np.exp(-value))


def opened(*backends):
    for backend in backends:
        backend.__enter__()  # there is nothing to close
    return backends


def plenty():
    return 10**9


def run(works, *backends, free_bytes=plenty, helpers=2, **options):
    """Let scans through; return those that came out."""
    with_all = opened(*(backends or [FakeBackend(SHAPE, 2)]))
    pipeline = Pipeline(with_all, None, free_bytes=free_bytes, helpers=helpers, **options)
    return [one for one in pipeline.run(works) if one.is_out]


@settings(max_examples=30)
@given(
    counts=st.lists(st.integers(0, 5), max_size=12),
    batch_size=st.integers(1, 4),
    devices=st.integers(1, 3),
    helpers=st.integers(1, 3),
)
def test_every_scan_comes_out_once_in_order_with_its_own(counts, batch_size, devices, helpers):
    works = [Scan(value, count) for value, count in enumerate(counts)]
    backends = [FakeBackend(SHAPE, batch_size) for _ in range(devices)]
    out = run(works, *backends, helpers=helpers)
    assert [one.work for one in out] == works
    assert all(one.error is None for one in out)
    for work in works:
        if work.count:
            np.testing.assert_allclose(work.found, logistic(work.value), rtol=1e-6)
            assert work.found.shape == (work.count, *SHAPE.slice_out)


def test_order_does_not_depend_on_timing():
    works = [Scan(0, prepare_s=0.1), Scan(1, finish_s=0.1), Scan(2), Scan(3, count=0), Scan(4)]
    assert [one.work for one in run(works)] == works


def test_slices_of_several_scans_share_batches():
    # Ten scans of 3 slices, all prepared before the device begins: 30 slices in batches of 4 are
    # 8 batches; scan by scan they would be 20.
    begin = threading.Event()

    class Waiting(FakeBackend):
        def _execute(self, batch):
            begin.wait(5)
            return super()._execute(batch)

    class Last(Scan):
        def preprocess(self):
            slices = super().preprocess()
            threading.Timer(0.2, begin.set).start()
            return slices

    backend = Waiting(SHAPE, 4)
    works = [*(Scan(value) for value in range(9)), Last(9)]
    assert len(run(works, backend, helpers=5)) == 10
    # The first batch holds what had come when the device was asked: 3 slices at least.
    assert backend.batches_executed <= 9


@pytest.mark.parametrize(
    ("fails", "says"),
    [
        ("prepare", "is broken"),
        ("finish", "cannot be written"),
        ("memory", "does not fit into memory. Close other programs"),
    ],
)
def test_a_scan_that_fails_is_told_and_the_others_go_on(fails, says):
    works = [Scan(0), Scan(1, fails=fails), Scan(2)]
    out = run(works)
    assert [one.work for one in out] == works
    assert [one.error is None for one in out] == [True, False, True]
    assert isinstance(out[1].error, InputError)
    assert says in str(out[1].error)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_batch_that_fails_costs_only_the_scan_that_made_it_fail(batch_size):
    works = [Scan(value) for value in range(6)]
    out = run(works, Refusing(3, BackendError("no memory for this batch"), batch_size))
    assert [str(one.error) if one.error else "" for one in out] == [
        "no memory for this batch" if value == 3 else "" for value in range(6)
    ]
    for work in works[:3] + works[4:]:
        np.testing.assert_allclose(work.found, logistic(work.value), rtol=1e-6)


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    refused=st.sets(st.integers(0, 4)),
    batch_size=st.integers(1, 8),
    helpers=st.integers(1, 3),
)
def test_whatever_scans_are_refused_the_others_go_on(counts, refused, batch_size, helpers):
    class Picky(FakeBackend):
        def _execute(self, batch):
            if refused & {round(float(value)) - 1 for value in batch[:, 0, 0, 0]}:
                raise BackendError("refused")
            return super()._execute(batch)

    works = [Scan(value + 1, count) for value, count in enumerate(counts)]  # 0 is padding
    out = run(works, Picky(SHAPE, batch_size), helpers=helpers)
    assert [one.error is None for one in out] == [i not in refused for i in range(len(counts))]


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    failing=st.sets(st.integers(0, 30)),
    batch_size=st.integers(1, 8),
)
def test_a_batch_that_fails_once_changes_no_bit(counts, failing, batch_size):
    class Hiccup(FakeBackend):
        """Refuses batches of several scans by their number, and never those of one."""

        def _execute(self, batch):
            values = np.unique(batch[:, 0, 0, 0])
            number = self.batches_executed
            given = super()._execute(batch)
            if number in failing and len(values[values != 0]) > 1:
                raise BackendError("hiccup")
            return given

    found = []
    for backend in (FakeBackend(SHAPE, 1), Hiccup(SHAPE, batch_size)):
        works = [Scan((value + 1) / 7, count) for value, count in enumerate(counts)]
        pipeline = Pipeline(opened(backend), lambda _: True, free_bytes=plenty, helpers=2)
        assert all(one.error is None for one in pipeline.run(works))
        found.append([work.found for work in works])
    for alone, together in zip(*found, strict=True):
        np.testing.assert_array_equal(alone, together)


def test_a_device_that_is_gone_ends_the_run_and_what_it_had_executed_comes_out():
    works = [Scan(value) for value in range(50)]
    (backend,) = opened(Refusing(5, DeviceLostError("fell off the bus")))
    pipeline = Pipeline([backend], None, free_bytes=plenty, helpers=1)
    out = []
    with pytest.raises(DeviceLostError, match="fell off the bus"):
        out.extend(one.work.value for one in pipeline.run(works) if one.is_out)
    assert out == [0, 1, 2, 3, 4]
    assert works[6].found is None


def test_what_is_nobodys_error_is_raised():
    with pytest.raises(ZeroDivisionError):
        run([Scan(0), Scan(1, fails="bug"), Scan(2)])


class Counting:
    """Makes scans that know how much all of them take at a time."""

    def __init__(self):
        self.now, self.seen, self.lock = 0, [], threading.Lock()

    def scan(self, value, **options):
        counting = self

        class Counted(Scan):
            def preprocess(self):
                with counting.lock:
                    counting.now += self.needs
                    counting.seen.append(counting.now)
                return super().preprocess()

            def finish(self, load):
                super().finish(load)
                with counting.lock:
                    counting.now -= self.needs

        return Counted(value, **options)


def test_no_more_than_the_memory_holds_are_on_their_way():
    counting = Counting()
    works = [counting.scan(value, needs=4, finish_s=0.01) for value in range(12)]
    assert len(run(works, free_bytes=lambda: 10, helpers=4)) == 12
    assert max(counting.seen) == 8  # two of 4 fit into 10, three do not


def test_what_the_device_takes_when_it_executes_is_not_there_for_scans():
    # 20 at first, so that five scans of 4 fit; once the device has executed something nothing is
    # left besides what the scans have, and from then on one is on its way at a time.
    counting = Counting()

    class Hungry(FakeBackend):
        def _execute(self, batch):
            while len(counting.seen) < 3:
                time.sleep(0.001)
            return super()._execute(batch)

    device = Hungry(SHAPE, 1)
    works = [counting.scan(value, needs=4) for value in range(30)]
    out = run(works, device, free_bytes=lambda: -100 if device.batches_executed else 20, helpers=4)
    assert all(one.error is None for one in out)
    assert max(counting.seen) >= 12
    assert counting.seen[-10:] == [4] * 10


def test_a_scan_that_no_memory_holds_is_refused_in_numbers():
    out = run([Scan(0), Scan(1, needs=9 * 10**9)], free_bytes=lambda: 4 * 10**9)
    assert out[0].error is None
    assert "needs about 9 GB of memory, 4 are free" in str(out[1].error)


def test_a_scan_that_is_finished_needs_no_memory():
    out = run([Scan(0, count=0, needs=9 * 10**9)], free_bytes=lambda: 10)
    assert out[0].error is None


def test_abandoned_it_executes_and_finishes_no_more():
    works = [Scan(value, finish_s=0.05) for value in range(40)]
    backend = FakeBackend(SHAPE, 1)
    (backend,) = opened(backend)
    pipeline = Pipeline([backend], None, free_bytes=plenty, helpers=2)
    running = pipeline.run(works)
    next(one for one in running if one.is_out)
    running.close()
    executed = backend.batches_executed
    time.sleep(0.2)
    assert backend.batches_executed == executed
    assert sum(work.found is not None for work in works) < 10


def test_asked_to_end_it_takes_in_no_more_and_finishes_what_is_on_its_way():
    seen = []
    out = run(
        (seen.append(value) or Scan(value) for value in range(1000)),
        is_to_end=lambda: len(seen) >= 20,
    )
    assert 1 <= len(out) <= 20
    assert all(one.work.found is not None for one in out)


def test_the_first_scans_progress_is_told():
    pipeline = Pipeline(opened(FakeBackend(SHAPE, 1)), None, free_bytes=plenty, helpers=1)
    works = [Scan(0, count=4, finish_s=0.2)]
    shares = [one.share for one in pipeline.run(works)]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_what_the_threads_do_is_told_with_its_times_even_where_it_fails():
    spans = []
    works = [Scan(0), Scan(1, fails="prepare"), Scan(2, prepare_s=0.05, finish_s=0.05)]
    run(works, FakeBackend(SHAPE, 3), helpers=1, on_span=spans.append)
    by_stage = {stage: [s for s in spans if s.stage == stage] for stage in STAGES}
    # Three are prepared, one of them in vain; six slices in batches of three; two are finished.
    assert [len(by_stage[stage]) for stage in STAGES] == [3, 2, 2]
    workers = [{span.worker for span in by_stage[stage]} for stage in STAGES]
    assert workers == [{"preparing_0"}, {"device_0"}, {"finishing_0"}]
    for stage in STAGES:  # a thread does one thing after another
        for one, following in zip(by_stage[stage], by_stage[stage][1:], strict=False):
            assert one.began_s <= one.ended_s <= following.began_s
    slow_prepare, slow_finish = by_stage["prepare"][2], by_stage["finish"][1]
    assert min(slow_prepare.seconds, slow_finish.seconds) >= 0.05
    assert slow_prepare.ended_s <= by_stage["execute"][1].began_s
    assert by_stage["execute"][1].ended_s <= slow_finish.began_s
