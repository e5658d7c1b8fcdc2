"""Segment the studies of the queue, one after the other, with a model that is opened once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.cohort.job import Progress
from wmh_runtime.cohort.local_engine import LocalEngine
from wmh_runtime.cohort.plan import FolderOptions, plan_job
from wmh_runtime.cohort.run import run
from wmh_runtime.dicom.scans import NoScanError
from wmh_runtime.errors import DeviceLostError, WmhError
from wmh_runtime.files.temporary import remove_folder
from wmh_runtime.node.config import NodeConfig
from wmh_runtime.node.metrics import Metrics
from wmh_runtime.node.queue import Queue
from wmh_runtime.node.schedule import Schedule, longest_quiet_s
from wmh_runtime.node.study import QueuedStudy, StudyRecord
from wmh_runtime.outputs.paths import Extras

_POLL_S = 0.5
_FIRST_WAIT_S, _WAIT_FACTOR = 60.0, 5.0  # between the attempts to segment a study
_MAX_UNFINISHED = 20  # attempts that ended the process: also if somebody restarts it often
_EXPIRE_EVERY_S = 5.0
_KEEP_RECORDS_S = 30 * 86_400.0
_S_IN_H = 3600.0

_log = logging.getLogger(__name__)


class Worker(threading.Thread):
    """Segments each study that is complete, and puts its results where they are to go.

    Args:
        config: of the node.
        queue: with the studies.
        schedule: says which study is next.
        bundle: the model.
        backends: open, for the bundle.
        metrics: to count.
    """

    def __init__(
        self,
        config: NodeConfig,
        queue: Queue,
        schedule: Schedule,
        bundle: Bundle,
        backends: Sequence[Backend],
        metrics: Metrics,
    ) -> None:
        super().__init__(name="segment", daemon=True)
        self.fatal: Exception | None = None  # what ended the thread, such as a lost device
        self._config = config
        self._queue = queue
        self._schedule = schedule
        self._bundle = bundle
        self._backends = backends
        self._metrics = metrics
        self._stop_requested = threading.Event()

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
                due = self._schedule.next_due() if self._has_space() else None
                if due is None:
                    self._stop_requested.wait(_POLL_S)
                else:
                    self._segment(due)
        except Exception as error:
            self.fatal = error

    def _has_space(self) -> bool:
        return self._queue.free_bytes >= self._config.min_free_bytes

    def _segment(self, study: QueuedStudy) -> None:
        record, images = study.record, study.images_digest
        if not set(record.removed) <= study.image_codes:
            reason = "its other images were removed before; send the whole study again"
            self._finish(study, record.model_copy(update={"attempted": images}), "failed", reason)
            return
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
            self._finish(study, record, "no scan", "it has no series to segment")
        except DeviceLostError:
            raise
        except WmhError as error:
            self._fail(study, record, error.problem.rstrip("."))
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
            extras=Extras(dicom=True, probability="probability" in results.kinds),
            series=self._config.study.series,
        )
        options = self._config.model.options
        job = plan_job(study.images_folder, study.results_folder, self._bundle, options, wanted)
        outcome = run(job, LocalEngine(self._backends), Progress())
        for _, error in outcome.failed:
            raise error
        files = [
            path
            for case in outcome.done
            for to in job.paths(case)
            for kind, path in to.dicom.by_kind.items()
            if kind in results.kinds
        ]
        for warning in dict.fromkeys(line for case in outcome.done for line in case.notes):
            _log.warning("study %s: %s", study.code, warning)
        names = [one.name for one in results.destinations]
        self._queue.outbox.put(study, files, names, results.folder)

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
        age_s = self._config.study.keep_h * _S_IN_H
        for study in self._queue.studies():
            record = study.record
            # A clock that was set back would keep images for ever.
            is_old = bool(record.outcome) and abs(time.time() - record.finished) >= age_s
            if is_old and self._schedule.quiet_s(study) >= longest_quiet_s(self._config.study):
                self._queue.remove_images(study, record)
        self._queue.remove_records(_KEEP_RECORDS_S)
