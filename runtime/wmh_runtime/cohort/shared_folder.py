"""What the runs on one output folder share: who works on what, what failed, what is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.claims.claims import Claims
from wmh_runtime.outputs.existing_results import sidecars_in
from wmh_runtime.outputs.failures import FailureRecords
from wmh_runtime.outputs.paths import CLAIMS_FOLDER


@dataclass(frozen=True)
class SharedFolder:
    """The claims, failures and results of an output folder, as one run sees them."""

    claims: Claims
    failures: FailureRecords
    existing: frozenset[Path]  # sidecars that were there when this run began


@contextmanager
def share_folder(out: Path, root: Path) -> Iterator[SharedFolder]:
    """Take part in the work on an output folder for the block.

    Args:
        out: the folder.
        root: the input folder.
    """
    with Claims(out / CLAIMS_FOLDER) as claims:
        yield SharedFolder(claims, FailureRecords(out, root), sidecars_in(out))
