"""What `wmh-infer` shows while it runs: each scan when it is done, above a progress bar."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from shutil import which
from typing import Any

from rich.progress import Progress as Bar

from wmh_runtime.backends.onnxruntime_gpu import CudaProviderBackend
from wmh_runtime.bundle.manifest import Manifest
from wmh_runtime.change.record import ChangeRecord
from wmh_runtime.claims.claims import STALE_S
from wmh_runtime.cli import console
from wmh_runtime.cohort.job import Job, Outcome, Progress
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import summarize_skipped
from wmh_runtime.errors import WmhError
from wmh_runtime.files.process import ProcessId
from wmh_runtime.inference.backend_selection import OpenBackends
from wmh_runtime.outputs.paths import VOLUMES_NAME
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.outputs.tables.results import FAILURES_NAME
from wmh_runtime.outputs.tables.skipped import SKIPPED_NAME
from wmh_runtime.preprocessing.slices.planes import THICKEST_MM, planes_text
from wmh_runtime.report.pages import REPORT_NAME
from wmh_runtime.storage.address import path_in
from wmh_runtime.text import count_noun, uncapitalize


class RunDisplay(Progress):
    """Prints each scan when it is done, above a progress bar."""

    def __init__(self, manifest: Manifest) -> None:
        self.total = 0  # scans, and folders that cannot be read
        self._model = f"model {manifest.name}, id {manifest.model_id}"
        self._warnings = manifest.warnings  # of the model
        self._channels = manifest.channels
        self._planes = manifest.preprocessing.planes
        self._finished = 0
        self._compared = 0
        self._owners = set[ProcessId]()  # other runs that were waited for
        self._shown = ExitStack()  # a spinner, then the bar
        self._bar: Bar | None = None

    def __enter__(self) -> RunDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar."""
        self._shown.close()

    def discovered(self, job: Job) -> None:
        cases, found = job.cases, job.found
        self.total = len(cases) + len(found.unreadable)
        part = f", shard {job.shard} of {len(found.scans)}" if job.shard else ""
        console.print_line(f"{count_noun(len(cases), 'scan')} to segment{part}")
        if len(self._channels) > 1:
            console.print_line(_images_line(cases, self._channels))
        for case in cases:
            if case.origin:
                console.print_line(f"{case.relative.as_posix()} is {case.origin}")
        if found.skipped:
            skipped = summarize_skipped(found.skipped)
            console.print_line(f"skipped {skipped}, see {SKIPPED_NAME} in the results")
        if unnamed := sum(case.contrast is None for case in cases):
            names = f"the names of {count_noun(unnamed, 'scan')} say no contrast"
            console.print_line(f"{names}: taken as FLAIR; of another contrast, masks are wrong")
        console.print_line(self._model)
        if len(self._planes) > 1:
            seen, count = planes_text(self._planes), len(self._planes)
            first_only = (
                f"scans with voxels above {THICKEST_MM:g} mm: {self._planes[0]} slices only"
            )
            console.print_line(
                f"it sees {seen}: about {count} times the work of one plane with cubic voxels, 15"
                f" times with slices of {THICKEST_MM:g} mm; {first_only}"
            )
        for warning in self._warnings:
            console.print_warning(warning)
        self._shown.enter_context(console.err.status("opening the model"))

    def opened(self, opened: OpenBackends) -> None:
        if (parity := opened.compared) is not None:
            console.print_line(
                f"{parity.precision} agrees with the trained network on this machine:"
                f" mask Dice {parity.mask_dice:.4f}"
            )
        for reason in opened.rejected:
            console.print_warning(reason)
        if opened.backends[0].device == "cpu" and which("nvidia-smi"):
            advice = uncapitalize(CudaProviderBackend.install_advice())
            console.print_line(f"this machine has a GPU, which is not used. To use it, {advice}")

    def begun(self, where: str) -> None:
        self._shown.close()
        console.print_line(f"running on {where}")
        self._show_bar("segmenting", self.total)
        self._update(completed=self._finished)

    def predicted(self, case: Case, share: float) -> None:
        completed, name = self._finished + share, case.path.name
        self._update(completed=completed, description=f"segmenting {name}")

    def done(self, case: Case, sidecars: Sequence[Sidecar], *, kept: bool) -> None:
        if not kept:  # otherwise another run has printed it
            self._print_result(case.relative.as_posix(), sidecars)
        self._advance()

    def waiting(self, cases: Sequence[Case], owner: ProcessId | None) -> None:
        count = count_noun(len(cases), "scan")
        self._update(description=f"waiting for {count} of other runs")
        if owner is not None and owner not in self._owners:
            self._owners.add(owner)
            console.print_line(
                f"waiting for {count} that other runs work on, such as process {owner.number} on"
                f" {owner.host}; should it be gone, this run takes over in {STALE_S:g} s"
            )

    def held_up(self, owner: ProcessId | None) -> None:
        who = f"process {owner.number} on {owner.host}" if owner else "another run"
        console.print_line(f"waiting for {who}, which begins to work on the same folder")

    def comparing(self, subjects: int) -> None:
        self.close()
        count = count_noun(subjects, "subject")
        console.print_line(f"comparing the visits of {count}")
        self._show_bar("comparing visits", subjects)

    def compared(self, subject: str, found: ChangeRecord | WmhError) -> None:
        if isinstance(found, ChangeRecord):
            for interval in found.intervals:
                console.print_line(f"{subject}: {interval.summary}")
                for warning in interval.warnings:
                    console.print_warning(f"{subject}: {warning}")
        else:
            console.print_error(str(found))
        self._compared += 1
        self._update(completed=self._compared)

    def failed(self, case: Case, error: WmhError) -> None:  # noqa: ARG002 - the error names it
        console.print_error(str(error))
        self._advance()

    def warned(self, line: str) -> None:
        console.print_warning(line)

    def stopping(self, running: int) -> None:
        finishing = f"finishing {count_noun(running, 'scan')}" if running else "stopping"
        console.print_warning(f"{finishing}; press Ctrl-C again to stop at once")

    def aborted(self) -> None:
        self.close()
        console.print_error("interrupted. Finished results are kept; the same command continues.")
        os._exit(console.EXIT_INTERRUPTED)  # without waiting for the batches on the devices

    def _print_result(self, name: str, sidecars: Sequence[Sidecar]) -> None:
        volumes = "; ".join(
            f"{sidecar.settings.output.name.upper()} {sidecar.volume_ml:.2f} mL"
            f" in {count_noun(sidecar.lesion_count, 'lesion')}"
            f"{''.join(f'; {fact}' for fact in sidecar.burden_facts)}"
            for sidecar in sidecars
        )
        moves = "".join(f"; {fact}" for fact in sidecars[0].registration_facts)
        console.print_line(f"{name}: {volumes}{moves}")
        for warning in dict.fromkeys(w for sidecar in sidecars for w in sidecar.warnings):
            console.print_warning(f"{name}: {warning}")

    def _advance(self) -> None:
        self._finished += 1
        self._update(completed=self._finished)

    def _show_bar(self, description: str, total: int) -> None:
        self._bar = self._shown.enter_context(console.progress_bar())
        self._task = self._bar.add_task(description, total=total)

    def _update(self, **fields: Any) -> None:
        """Update the bar, once there is one."""
        if self._bar is not None:
            self._bar.update(self._task, **fields)


def print_conclusion(outcome: Outcome, total: int, out: str) -> int:
    """Print what became of the scans of a run; return the exit status.

    Args:
        outcome: of the run.
        total: scans, and folders that cannot be read.
        out: path or address of the output folder.
    """
    finished, failed = len(outcome.kept) + len(outcome.done), len(outcome.failed)
    if finished:
        kept = f", {len(outcome.kept)} of them by earlier or other runs" if outcome.kept else ""
        console.print_line(
            f"{count_noun(finished, 'scan')} finished{kept}. Volumes: {path_in(out, VOLUMES_NAME)}"
        )
        console.print_line(f"Look at the masks: {path_in(out, REPORT_NAME)}")
    if (folder := outcome.folder) and folder.expected is not None:
        more = f", {folder.failed} failed" if folder.failed else ""
        console.print_line(f"all shards: {folder.finished} of {folder.expected} finished{more}")
    if not_begun := total - finished - failed:  # after --fail-fast
        console.print_line(
            f"{count_noun(not_begun, 'scan')} not begun: fix the error above, or run without"
            " --fail-fast"
        )
    if not_compared := outcome.changes.failed:
        count = count_noun(len(not_compared), "subject")
        console.print_error(f"{count} not compared over time, for the reasons above")
    if failed:
        console.print_error(
            f"{count_noun(failed, 'scan')} failed, for the reasons above"
            f" (also in {path_in(out, FAILURES_NAME)})"
        )
        return console.EXIT_SOME_FAILED if finished else console.EXIT_NOTHING_RAN
    return console.EXIT_SOME_FAILED if not_compared else 0


def _images_line(cases: Sequence[Case], channels: Sequence[str]) -> str:
    """Say how many cases have which images: "2 of FLAIR and T1, 1 of FLAIR only"."""
    given = Counter(
        tuple(one.upper() for one in channels if case.image_of(one) is not None) for case in cases
    )
    return ", ".join(
        f"{count} of {' and '.join(names)}{'' if len(names) == len(channels) else ' only'}"
        for names, count in given.most_common()
    )
