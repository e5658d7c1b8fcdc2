"""How far the runs on an output folder are, from the files in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from wmh_runtime.claims.claim_file import ClaimContent
from wmh_runtime.claims.claims import Claims
from wmh_runtime.dataset.bids import bids_entities, entities_of_sidecar
from wmh_runtime.files.atomic import write_text_atomically
from wmh_runtime.files.folders import make_folder
from wmh_runtime.files.reading import read_model
from wmh_runtime.outputs.existing_results import sidecars_in
from wmh_runtime.outputs.failures import SEGMENTATION, read_failures
from wmh_runtime.outputs.paths import STATE_FOLDER
from wmh_runtime.schema import StrictModel

EXPECTED = STATE_FOLDER / "expected.json"


class Expected(StrictModel):
    """What the results in an output folder will be when all runs are done."""

    scans: dict[str, int] = Field(default={}, description="input folder → scans in it")
    outputs: int = Field(default=1, description="results of each scan")


@dataclass(frozen=True)
class FolderStatus:
    """How far the runs on an output folder are."""

    finished: int  # scans with all results, but for those that failed since
    failed: int  # scans
    expected: int | None  # scans in the input folders; None: no run was given a whole folder
    claims: Sequence[ClaimContent]  # what runs work on now, scans and other things

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do, as far as is known."""
        if self.expected is None:  # no run was given a whole folder, or none has begun
            return self.has_begun and not self.claims
        return self.left == 0  # claims may be of runs that are gone

    @property
    def left(self) -> int:
        """The scans that are neither finished nor failed, as far as is known."""
        return max(0, (self.expected or 0) - self.finished - self.failed)

    @property
    def has_begun(self) -> bool:
        """Whether a run has begun to work on the folder."""
        return bool(self.finished or self.failed or self.claims or self.expected)

    def seconds_left(self, before: FolderStatus, seconds: float) -> float | None:
        """Estimate the time to the end from the progress since an earlier look; None: not known."""
        progress = self.finished + self.failed - before.finished - before.failed
        if self.expected is None or progress <= 0:
            return None
        return self.left * seconds / progress


def expect(out: Path, source: str, scans: int, outputs: int) -> None:
    """Keep how many scans an input folder has, for the status. One run at a time may call this.

    Args:
        out: output folder.
        source: path or address of the input folder.
        scans: in it.
        outputs: results of each scan.

    Raises:
        InputError: the file cannot be written.
    """
    path = out / EXPECTED
    known = read_model(path, Expected) or Expected()
    counts = known.scans | {source: scans}
    expected = Expected(scans=dict(sorted(counts.items())), outputs=outputs)
    make_folder(path.parent)
    write_text_atomically(path, expected.model_dump_json(indent=2) + "\n")


def read_status(out: Path, claims: Claims) -> FolderStatus:
    """Return how far the runs on an output folder are.

    Args:
        out: the folder, which exists.
        claims: in it.
    """
    expected = read_model(out / EXPECTED, Expected) or Expected()
    scans = (Path(one.name) for one in read_failures(out) if one.step == SEGMENTATION)
    failed = {scan.parent / bids_entities(scan) for scan in scans}
    sidecars = (path.relative_to(out) for path in sidecars_in(out))
    finished = sum(entities_of_sidecar(path) not in failed for path in sidecars)
    return FolderStatus(
        finished=finished // expected.outputs,
        failed=len(failed),
        expected=sum(expected.scans.values()) or None,
        claims=claims.all(),
    )
