"""Cases are processed several at a time, reported in order, in bounded memory, whatever fails."""

import copy
import gc
import inspect
import re
import threading
import time
import weakref
from concurrent.futures import wait
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wmh_runtime.backends.base import Backend
from wmh_runtime.backends.fake import FakeBackend
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cohort import local_runner as runner_module
from wmh_runtime.cohort import run as run_module
from wmh_runtime.cohort.case import memory as scan_memory
from wmh_runtime.cohort.case import processor as case_processor
from wmh_runtime.cohort.case import worker as worker_module
from wmh_runtime.cohort.job import Job, Progress
from wmh_runtime.cohort.local_engine import LocalEngine
from wmh_runtime.cohort.run import run
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import Discovery
from wmh_runtime.errors import BackendError, DeviceLostError, InputError
from wmh_runtime.files.case_failure import LOG_NAME


@dataclass
class FakeScan:
    """How one case behaves at each stage. Its slices all have one value."""

    number: int
    slices: int = 3
    needed_bytes: int = 1
    read_s: float = 0.0
    write_s: float = 0.0
    fails: str = ""
    is_finished: bool = False
    written: np.ndarray | None = None


class Recorder(Progress):
    """Keeps what is reported."""

    def __init__(self):
        self.reported, self.shares, self.errors = [], [], {}

    def predicted(self, case, share):
        self.shares.append(share)

    def done(self, case, sidecars, *, kept):
        self.reported.append(int(case.path.name))

    def failed(self, case, error):
        self.reported.append(int(case.path.name))
        self.errors[int(case.path.name)] = error


STAGES = {
    **dict.fromkeys(("read_grid", "estimate_scan_bytes", "find_finished_results"), worker_module),
    **dict.fromkeys(("read_images", "preprocess", "postprocess"), case_processor),
    **dict.fromkeys(("quality_of_case", "write_results"), case_processor),
}  # and the modules that call them


class Preprocessed(SimpleNamespace):
    """A preprocessed scan, of which postprocessing needs the scan only."""

    def without_slices(self):
        return Preprocessed(**{**vars(self), "slices": None})


class World:
    """Fakes around the runner: reading, preprocessing, postprocessing, writing."""

    def __init__(self, bundle, out, patch):
        self.bundle, self.out = bundle, out
        self.shape = bundle.manifest.network_shape
        self.scans = {}
        self.in_memory, self.peaks, self.lock = 0, [], threading.Lock()
        self.free = lambda: 10**9
        for name, fake in {
            "read_grid": lambda path: (path, None),
            "estimate_scan_bytes": self.estimate,
            "find_finished_results": lambda case, *_, **__: (
                [] if self.of(case.path).is_finished else None
            ),
            "read_images": lambda case, channels: {channels[0]: self.read(case.path)},
            "preprocess": self.preprocess,
            "postprocess": lambda prediction, preprocessed, *_: (preprocessed.scan, prediction),
            "quality_of_case": lambda *_: (),
            "write_results": self.write,
        }.items():
            patch.setattr(STAGES[name], name, fake)
        patch.setattr(scan_memory, "_SHARE_OF_FREE_MEMORY", 1)
        patch.setattr(scan_memory, "free_bytes", lambda: self.free())
        patch.setattr(run_module, "collect", lambda *_: [])

    def estimate(self, path, *others, **options):
        inspect.signature(scan_memory.estimate_scan_bytes).bind(path, *others, **options)
        assert (options["images"], options["outputs"]) == (1, 1)
        return self.of(path).needed_bytes

    def of(self, path):
        return self.scans[int(path.name)]

    def read(self, path):
        scan = self.of(path)
        with self.lock:
            self.in_memory += scan.needed_bytes
            self.peaks.append(self.in_memory)
        time.sleep(scan.read_s)
        if scan.fails == "read":
            raise InputError("is broken")
        if scan.fails == "memory":
            raise MemoryError
        if scan.fails == "bug":
            raise ZeroDivisionError("half a\nvoxel")
        return scan

    def preprocess(self, scans, _):
        (scan,) = scans
        slices = np.full((scan.slices, *self.shape.input_shape), scan.number + 1, np.float32)
        return Preprocessed(scan=scan, channels=(scan,), slices=slices, head=None, geometry=None)

    def write(self, inputs, segmentation, *_, **__):
        (scan,) = inputs.images.values()
        time.sleep(scan.write_s)
        if scan.fails == "write":
            raise InputError("cannot be written", about=self.out)
        scan.written = segmentation[1].probability[:, 0, 0, 0]
        with self.lock:
            self.in_memory -= scan.needed_bytes
        return []

    def run(self, scans, *backends, progress=None, on_span=lambda _: None, **options):
        self.scans = {scan.number: scan for scan in scans}
        cases = [Case(Path(str(scan.number)), Path(str(scan.number))) for scan in scans]
        manifest = self.bundle.manifest
        job = Job(
            Discovery(tuple(cases)),
            self.out,
            self.bundle,
            manifest.outputs,
            overwrite=False,
            **options,
        )
        backends = backends or [FakeBackend(self.shape, 2)]
        for backend in backends:
            backend.__enter__()  # there is nothing to close
        self.progress = progress or Recorder()
        return run(job, LocalEngine(backends, on_span), self.progress)


@pytest.fixture
def world(toy_bundle, tmp_path, monkeypatch):
    return World(load_bundle(toy_bundle), tmp_path / "out", monkeypatch)


def logistic(value):
    return 1 / (1 + np.exp(-value))


class Refusing(FakeBackend):
    """Fails on every batch with a slice of one scan."""

    def __init__(self, shape, number, error, batch_size=1):
        super().__init__(shape, batch_size)
        self.number, self.error = number, error

    def _execute(self, batch):
        if (batch == self.number + 1).any():
            raise copy.copy(self.error)
        return super()._execute(batch)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=st.lists(st.integers(0, 5), max_size=12),
    batch_size=st.integers(1, 4),
    devices=st.integers(1, 3),
)
def test_every_case_is_reported_once_in_order_with_its_own_result(
    world, counts, batch_size, devices
):
    scans = [
        FakeScan(number, slices=count, is_finished=count == 0)
        for number, count in enumerate(counts)
    ]
    outcome = world.run(scans, *(FakeBackend(world.shape, batch_size) for _ in range(devices)))
    assert world.progress.reported == list(range(len(scans)))
    assert len(outcome.kept) == counts.count(0)
    assert not outcome.failed
    for scan in scans:
        if scan.slices:
            np.testing.assert_allclose(
                scan.written, [logistic(scan.number + 1)] * scan.slices, 1e-6
            )


def test_the_order_does_not_depend_on_timing(world):
    world.run(
        [
            FakeScan(0, read_s=0.1),
            FakeScan(1, write_s=0.1),
            FakeScan(2),
            FakeScan(3, is_finished=True),
            FakeScan(4),
        ]
    )
    assert world.progress.reported == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("read", "is broken"),
        ("write", "cannot be written"),
        ("memory", "does not fit into memory. Close other programs"),
    ],
)
def test_a_case_that_fails_is_reported_and_the_others_go_on(world, fails, message):
    outcome = world.run([FakeScan(0), FakeScan(1, fails=fails), FakeScan(2)])
    assert world.progress.reported == [0, 1, 2]
    ((case, error),) = outcome.failed
    assert case.path.name == "1"
    assert isinstance(error, InputError)
    assert message in str(error)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_batch_that_fails_costs_only_the_case_that_made_it_fail(world, batch_size):
    backend = Refusing(world.shape, 3, BackendError("no memory for this batch"), batch_size)
    scans = [FakeScan(number) for number in range(6)]
    world.run(scans, backend)
    assert list(world.progress.errors) == [3]
    assert "no memory for this batch" in str(world.progress.errors[3])
    for scan in scans[:3] + scans[4:]:
        np.testing.assert_allclose(scan.written, [logistic(scan.number + 1)] * 3, 1e-6)


def test_a_lost_device_ends_the_run_and_finished_predictions_are_written(world):
    scans = [FakeScan(number) for number in range(50)]
    backend = Refusing(world.shape, 5, DeviceLostError("fell off the bus"))
    with pytest.raises(DeviceLostError, match=r"fell off the bus: stopped after (\d+) of 50 scans"):
        world.run(scans, backend)
    # The threads of the cases reach the predictor in any order: any other case may be finished.
    assert 5 not in world.progress.reported
    written = [scan.number for scan in scans if scan.written is not None]
    assert written == world.progress.reported
    assert len(written) < 20


def test_when_one_of_two_devices_is_lost_the_other_finishes_what_it_has_begun(world):
    slow = threading.Event()

    class Slow(FakeBackend):
        def _execute(self, batch):
            slow.set()
            time.sleep(0.02)
            return super()._execute(batch)

    class Lost(FakeBackend):
        def _execute(self, batch):
            slow.wait(5)
            raise DeviceLostError("fell off the bus")

    scans = [FakeScan(number, slices=8) for number in range(20)]
    with pytest.raises(DeviceLostError, match="fell off the bus"):
        world.run(scans, Slow(world.shape, 1), Lost(world.shape, 1))
    written = [scan for scan in scans if scan.written is not None]
    assert written
    for scan in written:
        np.testing.assert_allclose(scan.written, [logistic(scan.number + 1)] * 8, rtol=1e-6)


def test_a_second_ctrl_c_ends_the_run_and_no_backend_is_used_after_it_is_closed(world):
    used_late = []

    class Watched(Backend):
        """A device that its own thread waits for, as a TensorRT engine does."""

        name = device = "watched"
        precision = "fp32"
        is_closed = False

        def _open(self):
            pass

        def _close(self):
            self.is_closed = True

        def _submit(self, batch):
            def wait():
                time.sleep(0.05)
                if self.is_closed:
                    used_late.append(len(batch))
                return np.zeros((len(batch), *self.shape.output_shape), np.float32)

            return wait

    class Impatient(Recorder):
        def done(self, case, sidecars, *, kept):
            super().done(case, sidecars, kept=kept)
            raise KeyboardInterrupt

    progress = Impatient()
    backend = Watched(world.shape, 1)
    with pytest.raises(KeyboardInterrupt), backend:
        world.run([FakeScan(number) for number in range(40)], backend, progress=progress)
    assert len(progress.reported) == 1
    time.sleep(0.2)
    assert used_late == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(36, "File name too long"),
            r"\(File name too long\)\. Shorten the name",
        ),
        (PermissionError(13, "Permission denied"), r"cannot be processed \(Permission denied\)"),
        (OSError(40, "Too many levels of symbolic links"), r"Remove the link"),
        (OSError("no number"), r"cannot be processed \(no number\)"),
    ],
)
@pytest.mark.parametrize("stage", ["read_grid", "read_images", "write_results"])
def test_an_error_of_the_system_fails_its_case_only(world, monkeypatch, error, message, stage):
    normal = getattr(STAGES[stage], stage)

    def refuse(first, *others, **options):
        images = getattr(first, "images", None)  # of what is written
        (first_scan, *_) = images.values() if images else (first,)
        first_scan = getattr(first_scan, "path", first_scan)  # of a case
        if getattr(first_scan, "number", None) == 0 or getattr(first_scan, "name", None) == "0":
            raise error
        return normal(first, *others, **options)

    monkeypatch.setattr(STAGES[stage], stage, refuse)
    outcome = world.run([FakeScan(0), FakeScan(1), FakeScan(2)])
    assert world.progress.reported == [0, 1, 2]
    assert len(outcome.done) == 2
    assert isinstance(world.progress.errors[0], InputError)
    assert re.search(message, str(world.progress.errors[0]))
    assert not (world.out / LOG_NAME).exists()


def test_a_bug_fails_its_case_only_and_its_traceback_is_logged(world):
    outcome = world.run([FakeScan(0, fails="bug"), FakeScan(1), FakeScan(2, fails="bug")])
    assert world.progress.reported == [0, 1, 2]
    assert len(outcome.done) == 1
    log = world.out / LOG_NAME
    assert str(world.progress.errors[0]) == (
        "0: unexpected error (ZeroDivisionError: half a voxel). This is a bug of this program."
        f" Report it with the end of {log}."
    )
    text = log.read_text(encoding="utf-8")
    assert text.count("Traceback (most recent call last)") == 2
    assert "ZeroDivisionError: half a\nvoxel" in text
    assert "in read" in text  # the function that raised it


def test_a_log_that_cannot_be_written_is_said(world):
    (world.out / LOG_NAME).mkdir(parents=True)
    world.run([FakeScan(0, fails="bug"), FakeScan(1)])
    assert "errors.log cannot be written (Is a directory)" in str(world.progress.errors[0])
    assert world.progress.reported == [0, 1]


def test_a_request_to_exit_stops_the_run(world, monkeypatch):
    def leave(*_):
        raise SystemExit(3)

    monkeypatch.setattr(case_processor, "preprocess", leave)
    with pytest.raises(SystemExit):
        world.run([FakeScan(number) for number in range(60)])


def test_no_more_cases_are_processed_than_memory_holds(world):
    world.free = lambda: 10
    world.run([FakeScan(number, needed_bytes=4, write_s=0.01) for number in range(12)])
    assert max(world.peaks) == 8  # two of 4 fit into 10, three do not


def test_memory_that_the_network_takes_is_not_there_for_cases(world):
    # Nothing is free besides what the cases have once the device has run a batch: from then on
    # one case is processed at a time.
    device = FakeBackend(world.shape, 1)
    world.free = lambda: -100 if device.batches_executed else 20
    outcome = world.run([FakeScan(number, needed_bytes=4) for number in range(30)], device)
    assert not outcome.failed
    assert max(world.peaks[:3]) >= 8  # before, several are processed at a time
    assert world.peaks[-10:] == [4] * 10


def test_a_case_that_no_memory_holds_is_refused_with_numbers(world):
    world.free = lambda: 4 * 10**9
    world.run([FakeScan(0), FakeScan(1, needed_bytes=9 * 10**9)])
    assert list(world.progress.errors) == [1]
    assert "needs about 9 GB of memory, 4 are free" in str(world.progress.errors[1])


def test_a_finished_case_needs_no_memory(world):
    world.free = lambda: 10
    outcome = world.run([FakeScan(0, is_finished=True, needed_bytes=9 * 10**9)])
    assert len(outcome.kept) == 1


def test_a_failed_case_does_not_keep_its_voxels(world, monkeypatch):
    kept = []
    preprocess = world.preprocess

    def watched(scans, _):
        preprocessed = preprocess(scans, _)
        kept.append(weakref.ref(preprocessed.slices))
        return preprocessed

    monkeypatch.setattr(case_processor, "preprocess", watched)
    backend = Refusing(world.shape, 2, BackendError("refused"))
    scans = [FakeScan(0, fails="write"), FakeScan(1, fails="write"), FakeScan(2)]
    outcome = world.run(scans, backend)
    assert len(outcome.failed) == 3
    gc.collect()
    assert all(reference() is None for reference in kept)


def test_an_exception_of_the_listener_stops_the_run(world):
    class Impatient(Recorder):
        def done(self, case, sidecars, *, kept):
            raise RuntimeError("no more")

    backend = FakeBackend(world.shape, 1)
    with pytest.raises(RuntimeError, match="no more"):
        world.run([FakeScan(n, write_s=0.05) for n in range(40)], backend, progress=Impatient())
    executed = backend.batches_executed
    time.sleep(0.2)
    assert backend.batches_executed == executed
    assert sum(scan.written is not None for scan in world.scans.values()) < 10


@pytest.mark.parametrize(
    ("devices", "threads", "cores", "most"),
    [
        (1, None, 2, 3),  # one on the device, one before and one after it
        (1, None, 16, 9),  # four before and four after it
        (2, None, 16, 18),
        (1, 1, 16, 1),
        (1, 2, 16, 2),
        (1, 6, 16, 6),
        (1, 16, 4, 9),
        (2, 1, 16, 2),  # one on each device: its thread waits
    ],
)
def test_the_number_of_threads_bounds_the_cases(monkeypatch, devices, threads, cores, most):
    monkeypatch.setattr(runner_module, "available_cores", lambda: cores)
    assert runner_module.max_cases(devices, threads) == most


def test_with_one_thread_one_case_is_processed_at_a_time(world):
    outcome = world.run([FakeScan(number, read_s=0.01) for number in range(8)], threads=1)
    assert len(outcome.done) == 8
    assert max(world.peaks) == 1


def test_after_the_first_failure_no_more_cases_are_begun(world):
    scans = [FakeScan(0, fails="read"), *(FakeScan(n, write_s=0.02) for n in range(1, 40))]
    outcome = world.run(scans, fail_fast=True)
    assert len(outcome.failed) == 1
    assert len(outcome.done) < 20
    assert len(outcome.done) == sum(scan.written is not None for scan in scans)


def test_progress_of_the_first_case_is_reported(world):
    world.run([FakeScan(0, slices=4, write_s=0.2)], FakeBackend(world.shape, 1))
    assert world.progress.shares == sorted(world.progress.shares)
    assert world.progress.shares[-1] == 1


def test_a_case_that_ends_while_its_progress_is_reported_is_reported_once(world, monkeypatch):
    advance = runner_module.LocalRunner.advance

    def advance_slowly(runner, should_stop):
        for running, is_done in advance(runner, should_stop):
            wait([running.result], timeout=5)
            yield running, is_done

    monkeypatch.setattr(runner_module.LocalRunner, "advance", advance_slowly)
    outcome = world.run([FakeScan(number, slices=4) for number in range(3)])
    assert world.progress.shares
    assert world.progress.reported == [0, 1, 2]
    assert len(outcome.done) == 3


def test_every_stage_is_traced_even_if_it_fails(world):
    spans = []
    scans = [FakeScan(0), FakeScan(1, fails="read"), FakeScan(2, read_s=0.05, write_s=0.05)]
    world.run(scans, FakeBackend(world.shape, 3), on_span=spans.append)
    by_stage = {}
    for span in spans:
        by_stage.setdefault(span.stage, []).append(span)
    counts = {stage: len(found) for stage, found in by_stage.items()}
    # Three cases are read, one of them in vain; six slices run in batches of three.
    assert counts == {"read": 3, "preprocess": 2, "predict": 2, "postprocess": 2, "write": 2}
    assert {span.worker for span in by_stage["predict"]} == {"device_0"}
    for worker in {span.worker for span in spans}:  # a thread does one thing after another
        own = sorted((s for s in spans if s.worker == worker), key=lambda span: span.began_s)
        for one, following in pairwise(own):
            assert one.began_s <= one.ended_s <= following.began_s
    assert max(span.seconds for span in by_stage["read"]) >= 0.05
    assert max(span.seconds for span in by_stage["write"]) >= 0.05
