"""Segment the cases of a job on the devices of this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from wmh_runtime.backends.base import Backend
from wmh_runtime.cohort.case.memory import MemoryBudget
from wmh_runtime.cohort.case.processor import CaseProcessor
from wmh_runtime.cohort.case.worker import CaseWorker, RunningCase
from wmh_runtime.cohort.job import Job
from wmh_runtime.cohort.local_runner import LocalRunner, max_cases
from wmh_runtime.cohort.sharing.shared_folder import SharedFolder
from wmh_runtime.dataset.case import Case
from wmh_runtime.inference.segmenter import Segmenter
from wmh_runtime.inference.trace import OnSpan, ignore_span
from wmh_runtime.outputs.existing_results import require_same_settings
from wmh_runtime.outputs.settings import OtherInputs, Provenance

_FETCHED_AHEAD = 4  # scans in object storage that are copied while others are segmented


@dataclass(frozen=True)
class LocalEngine:
    """Devices of this machine, with the bundle of a job.

    Args:
        backends: open, one for each device: of one view for the tta `none` and `adaptive`, of eight
            views for `full`.
        on_span: is called with what each thread does.
        region_segmenter: open, of the job's bundle for regions; None: there is none.
    """

    backends: Sequence[Backend]
    on_span: OnSpan = ignore_span
    region_segmenter: Segmenter | None = None

    @contextmanager
    def open(self, job: Job, shared: SharedFolder) -> Iterator[LocalRunner]:
        """Return what segments the cases of a job.

        Raises:
            InputError: all results in the output folder were made with other settings.
        """
        provenance = provenance_of(job, self.backends[0])
        if not job.overwrite:
            require_same_settings(
                *(job.out, map(job.paths, job.cases), provenance.settings, shared.existing),
                any_backend=job.any_backend,
            )
        most = max_cases(len(self.backends), job.threads)
        memory = MemoryBudget()
        # Scans are preprocessed in parallel. Idle threads of numpy would spin, and take the cores
        # from the network.
        with (
            threadpool_limits(1, user_api="blas"),
            ThreadPoolExecutor(most, "case") as pool,
            Segmenter(job.model, self.backends, self.on_span) as segmenter,
            ExitStack() as stack,
        ):
            processor = CaseProcessor(
                job, segmenter, provenance, self.on_span, self.region_segmenter
            )
            worker = CaseWorker(job, shared, processor, provenance, memory, job.name_clashes)
            taken_up: Iterator[RunningCase] = map(worker.take_up, job.cases)
            if job.stored.scans is not None:
                fetchers = stack.enter_context(ThreadPoolExecutor(_FETCHED_AHEAD, "fetch"))
                taken_up = _map_ahead(fetchers, worker.take_up, job.cases)
            yield LocalRunner(taken_up, worker, memory, shared.claims, job.claim_of, pool, most)


def _map_ahead(
    pool: Executor, take_up: Callable[[Case], RunningCase], cases: Iterable[Case]
) -> Iterator[RunningCase]:
    """Take up cases in their order, some of them at a time and before they are needed."""
    begun = deque[Future[RunningCase]]()
    for case in cases:
        begun.append(pool.submit(take_up, case))
        if len(begun) == _FETCHED_AHEAD:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def provenance_of(job: Job, backend: Backend) -> Provenance:
    """Gather what makes the results of a job on a backend."""
    others = OtherInputs(
        registered=job.register,
        regions_model_id=job.regions_bundle.manifest.model_id if job.regions_bundle else "",
    )
    return Provenance.of(job.bundle, job.outputs, backend, job.tta, others)
