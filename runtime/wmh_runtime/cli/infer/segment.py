"""`wmh-infer SCANS OUT`: a folder of FLAIR scans in, lesion masks and volumes out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wmh_runtime.bundle.bundle import DEFAULT_BUNDLE, load_bundle
from wmh_runtime.cli import console
from wmh_runtime.cli.infer.display import RunDisplay, print_conclusion
from wmh_runtime.cli.infer.plan import print_plan
from wmh_runtime.cli.options import (
    PARTICIPANT_LEVEL,
    parse_devices,
    parse_precision,
    parse_tta,
)
from wmh_runtime.cohort.case.atlas import Atlas
from wmh_runtime.cohort.job import Progress
from wmh_runtime.cohort.plan import FolderOptions
from wmh_runtime.cohort.segment_folder import open_job, segment_folder
from wmh_runtime.cohort.sharing.shard import Shard
from wmh_runtime.dataset.visit_filter import VisitFilter
from wmh_runtime.errors import InputError
from wmh_runtime.imageio.atlas import read_region_names
from wmh_runtime.inference.backend_selection import AUTO, parse_backend
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.outputs.paths import Extras

app = console.command_line("Segment white matter hyperintensities in FLAIR scans.")


@app.command(**console.ONLY_COMMAND)
def infer(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Folder of NIfTI scans, BIDS data set, one scan, a table or list of scans; or"
            " DICOM files: a folder, a zip archive, or one file. A folder of scans may be in object"
            ' storage: s3://bucket/scans, with "wmh-lora[s3]".',
        ),
    ],
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="Folder for the results, with the same subfolders; or an address in object"
            " storage.",
        ),
    ],
    level: Annotated[
        str | None,
        typer.Argument(
            metavar="[participant]", help="Level of analysis, for programs that run BIDS Apps."
        ),
    ] = None,
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
    participant_label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="Only this participant, such as 01 or sub-01. May be given several times.",
        ),
    ] = None,
    session_label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="Only this session, such as 2 or ses-2. May be given several times.",
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
            help="Also write the regions of the brain, and outline brain, ventricles and cerebellum"
            " in the quality-control images.",
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
            help="Names of the numbers: a table with the columns index and name, a list as"
            " FreeSurferColorLUT.txt, or the .xml file of an atlas of FSL. Default: those of aseg,"
            " or the numbers."
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
            " (engines), onnxruntime-cuda-graph, onnxruntime-cuda, onnxruntime-tensorrt. auto: the"
            " fastest one installed."
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
    longitudinal: Annotated[
        str | None,
        typer.Option(
            metavar="sessions|TABLE",
            help="Also compare the visits of each subject, as the names say sessions, or by a table"
            " with the columns subject, visit, scan and perhaps date: new, enlarging, shrinking,"
            ' resolved and stable lesions. Needs "wmh-lora[itk]".',
        ),
    ] = None,
    reviewed: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Marks that the report saved: a column of volumes.csv; excluded scans are left out"
            " of summaries. They are added to reviews.tsv in the folder for the results, which is"
            " always read.",
        ),
    ] = None,
    viewer: Annotated[
        bool,
        typer.Option(
            "--viewer", help="Also write a page for each scan to look at it in three dimensions."
        ),
    ] = False,
    dicom: Annotated[
        bool,
        typer.Option(
            "--dicom",
            help="Of DICOM files: also write DICOM results: segmentation, structured report,"
            " picture; with --probability, its map, too.",
        ),
    ] = False,
    series: Annotated[
        str,
        typer.Option(
            metavar="NUMBER|UID|GLOB",
            help="Of DICOM files: the series to segment in each study, by its number, its UID or a"
            " pattern for its description, such as '*FLAIR*'. Default: by the parameters of the"
            " sequences.",
        ),
    ] = "",
    deidentify: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Of DICOM files: name the results by pseudonyms of the patients. The folder gets"
            " the key and the table of correspondence; keep it apart from the results.",
        ),
    ] = None,
    shard: Annotated[
        str,
        typer.Option(
            metavar="K/N|array",
            help="Segment only the K-th of N parts of the scans; other runs segment the others."
            " array: the task of a job array of Slurm.",
        ),
    ] = "",
    ray: Annotated[
        str,
        typer.Option(
            metavar="auto|ADDRESS",
            help="Run on a Ray cluster, which all see the folders under the same paths. auto: the"
            ' cluster that this machine is a part of. Needs "wmh-lora[ray]".',
        ),
    ] = "",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --ray: workers, each with one GPU, or with as many CPU cores as --threads"
            " says, else 4. Default: as many as the cluster has room for.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List what would be segmented and skipped; write nothing."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing results.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Begin no more scans after the first failure.")
    ] = False,
    _version: console.VersionOption = False,
) -> None:
    """Segment white matter hyperintensities in a folder of FLAIR scans.

    The names of files and folders tell which images are FLAIR; skipped.csv lists the others. For
    each scan: a lesion mask on the grid of the scan, a JSON file with volume and lesions, and a
    quality-control image. For the folder: volumes.csv. A scan that cannot be used is reported with
    the reason; the other scans are still processed. Exit status: 0 all scans done, 1 some scans
    failed, were not begun or could not be compared, 2 nothing could be done, 130 interrupted.

    Other commands, each with a help text of its own: wmh-infer collect OUT makes the tables again;
    wmh-infer status OUT shows how far the runs on a folder are; wmh-infer submit SCANS OUT runs on
    a cluster with Slurm.
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
    _require_level(level)
    opened = load_bundle(bundle)
    folder_options = FolderOptions(
        pattern=pattern,
        t1_pattern=t1,
        visits=VisitFilter(participant_label or (), session_label or ()),
        reviewed=reviewed,
        longitudinal=longitudinal,
        register=register,
        regions_bundle=load_bundle(regions_bundle) if regions_bundle else None,
        atlas=_atlas(atlas, atlas_names, atlas_transform),
        extras=Extras(probability=probability, regions=regions, viewer=viewer, dicom=dicom),
        overwrite=overwrite,
        fail_fast=fail_fast,
        series=series,
        pseudonyms=deidentify,
        shard=Shard.parse(shard) if shard else None,
    )
    if dry_run:
        with open_job(source, out, opened, options, folder_options, Progress()) as job:
            print_plan(job)
        return
    if workers is not None and not ray:
        raise InputError("needs --ray", "Give the cluster, too.", about="--workers")
    with RunDisplay(opened.manifest) as display:
        if ray:
            on_ray = console.load_module("wmh_runtime.cluster.ray_engine", "ray")
            outcome = on_ray.segment_folder_on_ray(
                *(source, out, opened, options, folder_options, display),
                address=ray,
                most_workers=workers,
            )
        else:
            outcome = segment_folder(source, out, opened, options, folder_options, display)
    if status := print_conclusion(outcome, display.total, out):
        raise typer.Exit(status)


def _require_level(level: str | None) -> None:
    if level not in (None, PARTICIPANT_LEVEL):
        problem = f"got {level} after the two folders, expected {PARTICIPANT_LEVEL} or nothing"
        advice = (
            "Give one folder of scans and one for the results. For several labels, repeat"
            f" --participant-label, or write {PARTICIPANT_LEVEL} after the folders."
        )
        raise InputError(problem, advice)


def _atlas(image: str | None, names: Path | None, transform: str) -> Atlas | None:
    if image is None:
        if names is not None or transform:
            raise InputError("needs --atlas", "Give the atlas, too.", about="--atlas-names")
        return None
    return Atlas(image, None if names is None else read_region_names(names), transform)
