"""Segment the studies of the queue, one after the other, with a model that is opened once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence

from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.job import Progress
from wmh_runtime.cohort.run import run
from wmh_runtime.cohort.segment_folder import FolderOptions, plan_job
from wmh_runtime.dicom.scans import NoScanError
from wmh_runtime.errors import DeviceLostError, WmhError
from wmh_runtime.files.temporary import remove_folder
from wmh_runtime.node.config import NodeConfig
from wmh_runtime.node.metrics import Metrics
from wmh_runtime.node.queue import Queue, QueuedStudy, StudyRecord
from wmh_runtime.outputs.paths import Extras

_POLL_S = 0.5
_FIRST_WAIT_S, _WAIT_FACTOR = 60.0, 5.0  # between the attempts to segment a study
_MAX_UNFINISHED = 20  # attempts that ended the process: also if somebody restarts it often
_CUT_OFF_FACTOR = 10.0  # of the quiet time
_EXPIRE_EVERY_S = 60.0
_KEEP_RECORDS_S = 30 * 86_400.0
_S_IN_H = 3600.0
_SETTLED_S = 2.0  # times of folders are not exact

_log = logging.getLogger(__name__)


class Worker(threading.Thread):
    """Segments each study that is complete, and puts its results where they are to go.

    Args:
        config: of the node.
        queue: with the studies.
        bundle: the model.
        backends: open, for the bundle.
        metrics: to count.
    """

    def __init__(
        self,
        config: NodeConfig,
        queue: Queue,
        bundle: Bundle,
        backends: Sequence[Backend],
        metrics: Metrics,
    ) -> None:
        super().__init__(name="segment", daemon=True)
        self.fatal: Exception | None = None  # what ended the thread, such as a lost device
        self._config = config
        self._queue = queue
        self._bundle = bundle
        self._backends = backends
        self._metrics = metrics
        self._running_since = time.time()
        self._stop_requested = threading.Event()
        self._released: set[str] = set()  # studies whose senders ended their associations
        self._settled: dict[str, float] = {}  # study → time of its last image, once it is done

    def release(self, studies: Iterable[QueuedStudy]) -> None:
        """Note that the sender of studies has ended its association."""
        if self._config.study.complete_on_release:
            self._released.update(study.code for study in studies)

    def stop(self) -> None:
        """Stop after the study that is being segmented."""
        self._stop_requested.set()

    def run(self) -> None:
        """Segment studies until `stop` is called, or a device is lost."""
        expire_at = 0.0
        try:
            while not self._stop_requested.is_set():
                if time.monotonic() >= expire_at:
                    self._expire()
                    expire_at = time.monotonic() + _EXPIRE_EVERY_S
                due = self._next_due()
                if due is None or not self._has_space():
                    self._stop_requested.wait(_POLL_S)
                else:
                    self._segment(due)
        except Exception as error:
            self.fatal = error

    @property
    def waiting(self) -> int:
        """How many studies are not done yet."""
        return sum(not self._is_done(study) for study in self._queue.studies())

    def _next_due(self) -> QueuedStudy | None:
        """Return the study to segment next; those that ended the process come last."""
        due = filter(self._is_due, self._queue.studies())
        return min(due, key=lambda study: study.record.unfinished, default=None)

    def _has_space(self) -> bool:
        return self._queue.free_bytes >= self._config.min_free_bytes

    def _is_done(self, study: QueuedStudy) -> bool:
        received_s = study.last_received_s
        if received_s == 0 or self._settled.get(study.code) == received_s:
            return True
        record = study.record
        is_done = bool(record.outcome) and record.images == study.images_digest
        if is_done and time.time() - received_s > _SETTLED_S:
            self._settled[study.code] = received_s
        return is_done

    def _is_due(self, study: QueuedStudy) -> bool:
        now = time.time()
        quiet_s = self._config.study.quiet_s
        if study.is_unreleased:  # its sender was cut off, and will send again
            quiet_s *= _CUT_OFF_FACTOR
        # While the node was off, nothing could come.
        is_quiet = now - max(study.last_received_s, self._running_since) >= quiet_s
        if not (is_quiet or study.code in self._released) or self._is_done(study):
            return False
        record = study.record
        return now >= record.not_before or record.attempted != study.images_digest

    def _segment(self, study: QueuedStudy) -> None:
        self._released.discard(study.code)
        record, images = study.record, study.images_digest
        if record.attempted != images:
            record = StudyRecord(attempted=images)
        if record.unfinished >= _MAX_UNFINISHED:
            reason = f"the process ended during {record.unfinished} attempts"
            self._finish(study, record, "failed", reason)
            return
        record = record.model_copy(update={"begun": record.begun + 1})
        study.write(record)  # so that a study that ends the process is not tried for ever
        _log.info("study %s: attempt %d", study.code, record.begun)
        started = time.monotonic()
        try:
            self._make_results(study)
        except NoScanError:
            self._finish(study, record, "no scan", "it has no FLAIR series")
        except DeviceLostError:
            raise
        except WmhError as error:
            self._fail(study, record, error.problem)
        except Exception as error:  # a bug; its text may hold values of the header
            self._fail(study, record, f"unexpected error ({type(error).__name__})")
        else:
            seconds = time.monotonic() - started
            self._metrics.seconds.observe(seconds)
            self._finish(study, record, "done", f"in {seconds:.1f} s")

    def _make_results(self, study: QueuedStudy) -> None:
        """Segment a study, and put the results where they are to go."""
        remove_folder(study.results_folder)  # of other images
        results = self._config.results
        wanted = FolderOptions(
            extras=Extras(dicom=True, probability=results.probability),
            series=self._config.study.series,
        )
        options = self._config.model.options
        job = plan_job(study.images_folder, study.results_folder, self._bundle, options, wanted)
        outcome = run(job, self._backends, Progress())
        for _, error in outcome.failed:
            raise error
        files = [
            path
            for case in outcome.done
            for to in job.paths(case)
            for path in to.dicom.files
            if path.is_file()
        ]
        names = [one.name for one in results.destinations]
        self._queue.deliver(study, files, names, results.folder)

    def _fail(self, study: QueuedStudy, record: StudyRecord, reason: str) -> None:
        record = record.model_copy(update={"failures": record.failures + 1})
        if record.failures >= self._config.study.attempts:
            self._finish(study, record, "failed", reason)
            return
        wait_s = _FIRST_WAIT_S * _WAIT_FACTOR ** (record.failures - 1)
        _log.warning("study %s: %s; trying again in %.0f s", study.code, reason, wait_s)
        update = {"reason": reason, "not_before": time.time() + wait_s}
        study.write(record.model_copy(update=update))

    def _finish(self, study: QueuedStudy, record: StudyRecord, outcome: str, reason: str) -> None:
        update = {
            "images": record.attempted,
            "outcome": outcome,
            "reason": reason,
            "finished": time.time(),
        }
        study.write(record.model_copy(update=update))
        self._metrics.studies.labels(outcome).inc()
        level = logging.ERROR if outcome == "failed" else logging.INFO
        _log.log(level, "study %s: %s, %s", study.code, outcome, reason)

    def _expire(self) -> None:
        """Remove the images of studies that are long done, and later their records."""
        now = time.time()
        for study in self._queue.studies():
            record = study.record
            if not record.outcome:
                continue
            age_s = now - record.finished
            if age_s >= self._config.study.keep_h * _S_IN_H:
                self._queue.remove_images(study, record.images)
            if age_s >= _KEEP_RECORDS_S and not study.images_digest:
                remove_folder(study.folder)
