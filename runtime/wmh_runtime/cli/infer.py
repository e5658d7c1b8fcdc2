"""`wmh-infer`: a folder of FLAIR scans in, lesion masks and volumes out."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from shutil import which
from typing import Annotated

import typer
from rich.progress import Progress as Bar

from wmh_runtime.bundle.bundle import open_bundle
from wmh_runtime.cli import console
from wmh_runtime.cli.options import parse_devices, parse_precision, parse_tta
from wmh_runtime.cohort.runner import Job, Outcome, Progress, run
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import Discovery, discover
from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.inference.backend_selection import (
    AUTO,
    BackendOptions,
    OpenBackends,
    open_backends,
    parse_backend,
)
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.outputs.tables import FAILURES_NAME, VOLUMES_NAME
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.text import count_noun
from wmh_runtime.tta import first_views

app = console.command_line("Segment white matter hyperintensities in FLAIR scans.")


@app.command(**console.ONLY_COMMAND)
def infer(
    source: Annotated[Path, typer.Argument(help="Folder of NIfTI scans, or one scan.")],
    out: Annotated[Path, typer.Argument(help="Folder for the results; mirrors the source.")],
    bundle: Annotated[
        str, typer.Option(metavar="FOLDER|demo", help="What wmh-export wrote, or: demo. Required.")
    ] = "",
    probability: Annotated[
        bool, typer.Option("--probability", help="Also write probability maps.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(help="Cut of probability, up to 1. Default: the bundle's."),
    ] = None,
    min_lesion_mm3: Annotated[
        float | None, typer.Option(help="Smallest lesion kept, mm³. Default: the bundle's.")
    ] = None,
    backend: Annotated[
        str,
        typer.Option(
            help="What executes the network. On processors: onnxruntime, openvino. On GPUs: rtx,"
            " tensorrt (engines), onnxruntime-cuda, onnxruntime-tensorrt. auto: the fastest here."
        ),
    ] = AUTO,
    precision: Annotated[
        str, typer.Option(help="fp32; int8 (processors); bf16, int8+bf16 (openvino); fp16 (GPUs).")
    ] = "fp32",
    device: Annotated[
        str, typer.Option(metavar="0|0,1|…", help="GPUs to execute on. Default: the first.")
    ] = "",
    tta: Annotated[
        str,
        typer.Option(
            help="Views of a slice: full (8), none (1), adaptive (8 where it is not surely empty)."
        ),
    ] = "full",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads. Default: one a core.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Slices executed at a time; the last are filled up. Default: 1, which is best on"
            " processors; on GPUs eight views.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace finished results.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Begin no more scans once one has failed.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=console.print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Segment white matter hyperintensities in a folder of FLAIR scans.

    For each scan: a lesion mask on the scan's own grid, a JSON record with volume and lesions,
    and a quality-control picture. For the folder: volumes.csv. Scans that cannot be used are
    named with the reason, and the others go on. Exit status: 0 all done, 1 some scans failed or
    were not reached, 2 nothing could be done, 130 interrupted.
    """
    if not bundle:  # the program's own refusal would not know of the demo
        advice = "Give a folder that wmh-export wrote, or: --bundle demo."
        raise InputError("is missing: it says which model to use", advice, about="--bundle")
    backend = parse_backend(backend)
    opened = open_bundle(bundle)
    looking = parse_tta(tta)
    wanted = BackendOptions(
        views=first_views(looking),
        precision=parse_precision(precision),
        batch_size=batch,
        threads=threads,
        gpus=parse_devices(device),
    )
    calibrated = opened.manifest.outputs_of(looking)
    outputs = [_overridden(output, threshold, min_lesion_mm3) for output in calibrated]
    found = discover(source, out)
    _tell_what_is_passed_over(found)
    if opened.manifest.warning:
        console.print_warning(opened.manifest.warning)
    job = Job(
        found.scans,
        out,
        opened,
        outputs,
        tta=looking,
        unreadable=found.unreadable,
        with_probability=probability,
        overwrite=overwrite,
        fail_fast=fail_fast,
        any_backend=backend == AUTO,
    )
    with ExitStack() as stack:
        with console.err.status("opening the model"):
            execution = stack.enter_context(open_backends(opened, backend, wanted))
        _tell_what_executes(execution)
        bar = stack.enter_context(console.progress_bar())
        try:
            total = len(found.scans) + len(found.unreadable)
            display = _Display(bar, total, opened.manifest.warning)
            outcome = run(job, execution.backends, display)
        except KeyboardInterrupt:  # the second one, or the first while nothing is on its way
            bar.stop()
            console.print_error("interrupted. What is finished is kept; the same command goes on.")
            os._exit(console.EXIT_INTERRUPTED)  # threads are at work, and nobody waits for them
    _conclude(outcome, total, out)


class _Display(Progress):
    """Shows each scan as it is finished, above a bar with the time left."""

    def __init__(self, bar: Bar, total: int, warning: str) -> None:
        self._bar = bar
        self._caution = warning
        self._task = bar.add_task("segmenting", total=total)
        self._finished = 0

    def executed(self, scan: Case, share: float) -> None:
        name = scan.path.name
        completed = self._finished + share
        self._bar.update(self._task, completed=completed, description=f"segmenting {name}")

    def done(self, scan: Case, records: Sequence[Sidecar], *, kept: bool) -> None:
        if kept:  # told already, by the run that made it
            self._finish_one()
            return
        volumes = ", ".join(
            f"{record.settings.output.name.upper()} {record.volume_ml:.2f} mL"
            f" in {count_noun(record.lesion_count, 'lesion')}"
            for record in records
        )
        console.print_line(f"{scan.relative.as_posix()}: {volumes}")
        for warning in dict.fromkeys(w for record in records for w in record.warnings):
            if warning != self._caution:  # said once, at the beginning
                console.print_warning(f"{scan.relative.as_posix()}: {warning}")
        self._finish_one()

    def ending(self, on_their_way: int) -> None:
        finishing = (
            f"finishing {count_noun(on_their_way, 'scan')} on the way" if on_their_way else "ending"
        )
        console.print_warning(f"{finishing}; Ctrl-C once more ends at once")

    def failed(self, scan: Case, error: WmhError) -> None:  # noqa: ARG002 - the error names it
        console.print_error(str(error))
        self._finish_one()

    def _finish_one(self) -> None:
        self._finished += 1
        self._bar.update(self._task, completed=self._finished)


def _tell_what_is_passed_over(found: Discovery) -> None:
    console.print_line(f"{count_noun(len(found.scans), 'scan')} to segment")
    for reason, count in found.passed_over.items():
        console.print_line(f"passed over {count_noun(count, 'file')}: {reason}")


def _tell_what_executes(execution: OpenBackends) -> None:
    console.print_line(f"executed by {execution}")
    if (parity := execution.compared) is not None:
        console.print_line(
            f"{parity.precision} agrees with the trained network on this machine:"
            f" mask Dice {parity.mask_dice:.4f}"
        )
    for reason in execution.passed_over:
        console.print_warning(reason)
    if execution.backends[0].device == "cpu" and which("nvidia-smi"):
        console.print_line("this machine has a GPU: docs/gpu.md says how to use it")


def _overridden(output: Output, threshold: float | None, min_lesion_mm3: float | None) -> Output:
    """Return an output with the user's threshold and minimum size in place of the bundle's."""
    if threshold is not None and not 0 < threshold <= 1:
        advice = "Give a probability: 0.5 for 50 %."
        raise InputError(f"{threshold:g} is not above 0 and at most 1", advice, about="--threshold")
    if min_lesion_mm3 is not None and not 0 <= min_lesion_mm3 < math.inf:
        advice = "Give 0 or more."
        raise InputError(
            f"{min_lesion_mm3:g} is not a volume in mm³", advice, about="--min-lesion-mm3"
        )
    asked = {"threshold": threshold, "min_lesion_mm3": min_lesion_mm3}
    return output.model_copy(update={k: v for k, v in asked.items() if v is not None})


def _conclude(outcome: Outcome, total: int, out: Path) -> None:
    finished = len(outcome.done) + len(outcome.kept)
    if finished:
        kept = f", {len(outcome.kept)} of them by earlier runs" if outcome.kept else ""
        console.print_line(
            f"{count_noun(finished, 'scan')} finished{kept}. Volumes: {out / VOLUMES_NAME}"
        )
    if not_begun := total - finished - len(outcome.failed):  # the first failure was the end
        console.print_line(
            f"{count_noun(not_begun, 'scan')} not begun: mend what failed, or leave out --fail-fast"
        )
    if outcome.failed:
        console.print_error(
            f"{count_noun(len(outcome.failed), 'scan')} failed, for the reasons above."
            f" Also in {out / FAILURES_NAME}"
        )
        raise typer.Exit(console.EXIT_SOME_FAILED if finished else console.EXIT_NOTHING_RAN)


def main() -> None:
    """Run `wmh-infer`."""
    console.run(app)
