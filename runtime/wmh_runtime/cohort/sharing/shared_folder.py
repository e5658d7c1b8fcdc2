"""What the runs on one output folder share: who works on what, what failed, what is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.claims.claim_objects import ClaimObjects
from wmh_runtime.claims.claims import Claims
from wmh_runtime.cohort.job import Job
from wmh_runtime.cohort.stored.stored_files import StoredFiles
from wmh_runtime.outputs.existing_results import sidecars_in
from wmh_runtime.outputs.failures import FailureRecords
from wmh_runtime.outputs.paths import CLAIMS_FOLDER


@dataclass(frozen=True)
class SharedFolder:
    """The claims, failures and results of an output folder, as one run sees them."""

    claims: Claims
    failures: FailureRecords
    existing: frozenset[Path]  # sidecars that were there when this run began


def claims_in(out: Path, stored: StoredFiles) -> Claims:
    """Return the claims in an output folder, or in the object storage that it stands for."""
    if stored.results is None:
        return Claims(out / CLAIMS_FOLDER)
    return Claims(ClaimObjects(stored.results.objects, CLAIMS_FOLDER.as_posix()))


@contextmanager
def share_folder(job: Job) -> Iterator[SharedFolder]:
    """Take part in the work on the output folder of a job for the block."""
    failures = FailureRecords(job.out, job.source, job.stored.store_failure)
    with claims_in(job.out, job.stored) as claims:
        yield SharedFolder(claims, failures, sidecars_in(job.out))
