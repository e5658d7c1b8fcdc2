"""`wmh-infer`: a folder of FLAIR scans in, lesion masks and volumes out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from shutil import which
from typing import Annotated

import typer
from rich.progress import Progress as Bar

from wmh_runtime.backends.onnxruntime_gpu import CudaProviderBackend
from wmh_runtime.bundle.bundle import DEFAULT_BUNDLE, load_bundle
from wmh_runtime.bundle.manifest import Manifest
from wmh_runtime.cli import console
from wmh_runtime.cli.options import parse_devices, parse_precision, parse_tta
from wmh_runtime.cohort.atlas import Atlas
from wmh_runtime.cohort.job import Outcome, Progress
from wmh_runtime.cohort.segment_folder import segment_folder
from wmh_runtime.dataset.case import Case
from wmh_runtime.dataset.discovery import Discovery, summarize_skipped
from wmh_runtime.errors import InputError, WmhError
from wmh_runtime.imageio.atlas import read_region_names
from wmh_runtime.inference.backend_selection import AUTO, OpenBackends, parse_backend
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.outputs.paths import Extras
from wmh_runtime.outputs.sidecar import Sidecar
from wmh_runtime.outputs.skipped_table import SKIPPED_NAME
from wmh_runtime.outputs.tables import FAILURES_NAME, VOLUMES_NAME
from wmh_runtime.text import count_noun, uncapitalize

app = console.command_line("Segment white matter hyperintensities in FLAIR scans.")


@app.command(**console.ONLY_COMMAND)
def infer(
    source: Annotated[
        Path, typer.Argument(help="Folder of NIfTI scans, one scan, or a table of scans.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the results, with the same subfolders.")],
    bundle: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|NAME",
            help="The model: a folder from wmh-export, or the name of a model of this package.",
        ),
    ] = DEFAULT_BUNDLE,
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="GLOB",
            help="Segment exactly the images that match, whatever their names say, for example"
            " '*_T2.nii.gz' or 'orig/FLAIR.nii.gz'. Default: the FLAIR scans, by their names.",
        ),
    ] = None,
    t1: Annotated[
        str | None,
        typer.Option(
            metavar="GLOB",
            help="For a bundle that takes FLAIR and T1: exactly the images that match are T1."
            " Default: by their names.",
        ),
    ] = None,
    register: Annotated[
        bool,
        typer.Option(
            "--register", help='Register each T1 to its FLAIR first; needs "wmh-lora[itk]".'
        ),
    ] = False,
    probability: Annotated[
        bool, typer.Option("--probability", help="Also write probability maps.")
    ] = False,
    regions: Annotated[
        bool,
        typer.Option(
            "--regions",
            help="Also write the regions of the brain, and outline brain and ventricles in the"
            " quality-control images.",
        ),
    ] = False,
    regions_bundle: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|NAME",
            help="Take the regions of the brain from this model, for one that predicts none.",
        ),
    ] = None,
    atlas: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="An image of region numbers in the space of the scans, such as aseg.mgz: measure"
            " the lesions in each region. {subject}, {session} and {scan} in its path are those of"
            " each scan.",
        ),
    ] = None,
    atlas_names: Annotated[
        Path | None,
        typer.Option(
            help="Names of the numbers: a table with the columns index and name, or a list as"
            " FreeSurferColorLUT.txt. Default: those of aseg, or the numbers."
        ),
    ] = None,
    atlas_transform: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Four rows of four numbers, RAS+ mm of the atlas to those of the scan. Default:"
            " they are in one space.",
        ),
    ] = "",
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability threshold, above 0 and at most 1. Default: the bundle's."),
    ] = None,
    min_lesion_mm3: Annotated[
        float | None,
        typer.Option(help="Smallest lesion that is kept, in mm³. Default: the bundle's."),
    ] = None,
    backend: Annotated[
        str,
        typer.Option(
            help="Library that runs the network. CPU: onnxruntime, openvino. GPU: rtx, tensorrt"
            " (engines), onnxruntime-cuda, onnxruntime-tensorrt. auto: the fastest one installed."
        ),
    ] = AUTO,
    precision: Annotated[
        str, typer.Option(help="fp32; int8 (CPU); bf16, int8+bf16 (openvino); fp16 (GPU).")
    ] = "fp32",
    device: Annotated[
        str, typer.Option(metavar="0|0,1|…", help="GPUs to use, by index. Default: the first.")
    ] = "",
    tta: Annotated[
        str,
        typer.Option(
            help="Test-time augmentation: full (eight views of each slice), none (one view),"
            " adaptive (eight views only for slices that may contain lesions)."
        ),
    ] = "full",
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads, for all of the work. Default: one per core."),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Slices per batch; the last batch is padded. Default: 1 on CPUs (the fastest); on"
            " GPUs as many as make eight views.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing results.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Begin no more scans after the first failure.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=console.print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Segment white matter hyperintensities in a folder of FLAIR scans.

    The names of files and folders tell which images are FLAIR; skipped.csv lists the others. For
    each scan: a lesion mask on the grid of the scan, a JSON file with volume and lesions, and a
    quality-control image. For the folder: volumes.csv. A scan that cannot be used is reported with
    the reason; the other scans are still processed. Exit status: 0 all scans done, 1 some scans
    failed or were not begun, 2 nothing could be done, 130 interrupted.
    """
    options = InferenceOptions(
        tta=parse_tta(tta),
        precision=parse_precision(precision),
        backend=parse_backend(backend),
        gpus=parse_devices(device),
        threads=threads,
        batch_size=batch,
        threshold=threshold,
        min_lesion_mm3=min_lesion_mm3,
    )
    opened = load_bundle(bundle)
    with _Display(opened.manifest) as display:
        outcome = segment_folder(
            source,
            out,
            opened,
            options,
            pattern=pattern,
            t1_pattern=t1,
            register=register,
            regions_bundle=load_bundle(regions_bundle) if regions_bundle else None,
            atlas=_atlas(atlas, atlas_names, atlas_transform),
            extras=Extras(probability=probability, regions=regions),
            overwrite=overwrite,
            fail_fast=fail_fast,
            progress=display,
        )
    _conclude(outcome, display.total, out)


def _atlas(image: str | None, names: Path | None, transform: str) -> Atlas | None:
    if image is None:
        if names is not None or transform:
            raise InputError("needs --atlas", "Give the atlas, too.", about="--atlas-names")
        return None
    return Atlas(image, None if names is None else read_region_names(names), transform)


class _Display(Progress):
    """Prints each scan when it is done, above a progress bar."""

    def __init__(self, manifest: Manifest) -> None:
        self.total = 0  # scans, and folders that cannot be read
        self._model = f"model {manifest.name}, id {manifest.model_id}"
        self._warnings = manifest.warnings  # of the model
        self._finished = 0
        self._shown = ExitStack()  # a spinner, then the bar

    def __enter__(self) -> _Display:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar."""
        self._shown.close()

    def discovered(self, found: Discovery) -> None:
        self.total = len(found.scans) + len(found.unreadable)
        console.print_line(f"{count_noun(len(found.scans), 'scan')} to segment")
        if found.skipped:
            skipped = summarize_skipped(found.skipped)
            console.print_line(f"skipped {skipped}, see {SKIPPED_NAME} in the results")
        if unnamed := sum(case.contrast is None for case in found.scans):
            names = f"the names of {count_noun(unnamed, 'scan')} say no contrast"
            console.print_line(f"{names}: taken as FLAIR; of another contrast, masks are wrong")
        console.print_line(self._model)
        for warning in self._warnings:
            console.print_warning(warning)
        self._shown.enter_context(console.err.status("opening the model"))

    def opened(self, opened: OpenBackends) -> None:
        self._shown.close()
        console.print_line(f"running on {opened}")
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
        self._bar: Bar = self._shown.enter_context(console.progress_bar())
        self._task = self._bar.add_task("segmenting", total=self.total)

    def predicted(self, case: Case, share: float) -> None:
        completed, name = self._finished + share, case.path.name
        self._bar.update(self._task, completed=completed, description=f"segmenting {name}")

    def done(self, case: Case, sidecars: Sequence[Sidecar], *, kept: bool) -> None:
        if not kept:  # otherwise an earlier run has printed it
            self._print_result(case.relative.as_posix(), sidecars)
        self._advance()

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
        console.print_line(f"{name}: {volumes}")
        for warning in dict.fromkeys(w for sidecar in sidecars for w in sidecar.warnings):
            if warning not in self._warnings:  # printed once, at the beginning
                console.print_warning(f"{name}: {warning}")

    def _advance(self) -> None:
        self._finished += 1
        self._bar.update(self._task, completed=self._finished)


def _conclude(outcome: Outcome, total: int, out: Path) -> None:
    """Print the summary; exit with 1 or 2 if a scan failed."""
    finished = len(outcome.kept) + len(outcome.done)
    if finished:
        kept = f", {len(outcome.kept)} of them by earlier runs" if outcome.kept else ""
        console.print_line(
            f"{count_noun(finished, 'scan')} finished{kept}. Volumes: {out / VOLUMES_NAME}"
        )
    if not_begun := total - finished - len(outcome.failed):  # after --fail-fast
        console.print_line(
            f"{count_noun(not_begun, 'scan')} not begun: fix the error above, or run without"
            " --fail-fast"
        )
    if outcome.failed:
        console.print_error(
            f"{count_noun(len(outcome.failed), 'scan')} failed, for the reasons above"
            f" (also in {out / FAILURES_NAME})"
        )
        raise typer.Exit(console.EXIT_SOME_FAILED if finished else console.EXIT_NOTHING_RAN)


def main() -> None:
    """Run `wmh-infer`."""
    console.run(app)
