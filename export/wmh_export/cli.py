"""`wmh-export`: build a bundle from a calibrated checkpoint, add engines, verify and inspect it.

Only `build` needs PyTorch and ONNX. They are imported when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wmh_export.engines.build_engines import build_engines
from wmh_export.engines.compiler import load_tensorrt_by_name
from wmh_export.inspect import describe_bundle, describe_engine
from wmh_runtime.bundle.bundle import is_shipped, load_bundle
from wmh_runtime.bundle.manifest import BatchProfile
from wmh_runtime.cli import console
from wmh_runtime.conformance.probe_slices import select_probe_scans
from wmh_runtime.conformance.verify import verify as verify_bundle
from wmh_runtime.dataset.channels import ChannelRules
from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.inference.candidates import list_candidates
from wmh_runtime.text import count_noun

app = console.command_line("Export a checkpoint to a bundle that agrees with the trained network.")

_Bundle = Annotated[
    str, typer.Argument(help="Bundle folder, or the name of a model of this package.")
]


@app.command()
def build(
    checkpoint: Annotated[Path, typer.Argument(help="Calibrated checkpoint folder.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to write; must not exist.")],
    pretrained: Annotated[
        Path | None,
        typer.Option(help="Pretrained weights of the frozen encoder: medsam_vit_b.pth."),
    ] = None,
    scans: Annotated[
        Path | None,
        typer.Option(
            help="Folder of scans. Slices of four of them, in addition to phantoms, measure"
            " parity and calibrate INT8."
        ),
    ] = None,
    name: Annotated[
        str, typer.Option(help="Model name in all results. Default: the name of the recipe.")
    ] = "",
    warning: Annotated[str, typer.Option(help="Warning that all results contain.")] = "",
    license_name: Annotated[
        str, typer.Option("--license", help="License of the weights, for the model card.")
    ] = "",
    attribution: Annotated[
        list[str] | None,
        typer.Option(
            help="Source and license of data that the model was made from, for the model card. May"
            " be repeated."
        ),
    ] = None,
    notes: Annotated[
        Path | None,
        typer.Option(
            help="Markdown file that the model card ends with: what the model is for, where it"
            " fails."
        ),
    ] = None,
    without_int8: Annotated[
        bool,
        typer.Option("--without-int8", help="Do not export INT8, which takes most of the time."),
    ] = False,
    with_checkpoint: Annotated[
        bool,
        typer.Option(
            "--with-checkpoint",
            help="Include the trained weights, so that others can fine-tune the model. They name"
            " the scans of the training.",
        ),
    ] = False,
) -> None:
    """Export a checkpoint to a bundle of ONNX graphs in FP32, FP16 and INT8.

    Merges and rewrites the network, traces it, and compares every graph with the trained network.

    Exit status: 0 all precisions are in the bundle, 1 a precision differs from the trained network
    and was left out, 2 no bundle was written.
    """
    build_module = console.load_module("wmh_export.build", extras="cpu,export")
    with console.steps() as on_step:
        result = build_module.build(
            checkpoint,
            out,
            on_step,
            pretrained=pretrained,
            scans=scans,
            metadata=build_module.BundleMetadata(
                name, warning, license_name, attribution or (), _read_text(notes)
            ),
            with_int8=not without_int8,
            with_checkpoint=with_checkpoint,
        )
    manifest = result.bundle.manifest
    for graph in manifest.graphs:
        for parity in graph.parity:
            console.print_line(f"{graph.path}: {parity}")
    console.print_line(f"Bundle {manifest.model_id} in {out}")
    for warning_text in (*manifest.warnings, *result.warnings):
        console.print_warning(warning_text)
    for reason in result.skipped_precisions:
        console.print_error(reason)
    console.print_line(f"Next: wmh-infer SCANS RESULTS --bundle {out}")
    if result.skipped_precisions:
        raise typer.Exit(console.EXIT_SOME_FAILED)


def _read_text(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "not UTF-8"
        problem = f"cannot be read ({reason})"
        raise InputError(problem, "Give a text file in UTF-8.", about=path) from error


@app.command()
def engines(
    bundle: Annotated[str, typer.Argument(help="Bundle folder that wmh-export wrote.")],
    runtime: Annotated[str, typer.Option(help="rtx (TensorRT-RTX) or tensorrt.")],
    targets: Annotated[
        str,
        typer.Option(
            help="For rtx: GPUs to build for, separated by commas: sm75, sm80, sm86, sm89, sm120."
        ),
    ] = "",
    slices: Annotated[
        str,
        typer.Option(
            help="Minimum, optimal and maximum batch size, in slices. Each slice is eight views."
        ),
    ] = "1,1,4",
) -> None:
    """Compile the FP16 graphs to engines.

    rtx builds for any GPUs and needs none; tensorrt builds for the GPU of this machine.
    """
    opened = load_bundle(bundle)
    if is_shipped(bundle):
        problem = "is a bundle of this program and cannot be changed"
        raise InputError(problem, f"Copy it first from {opened.folder}.", about=bundle)
    tensorrt = load_tensorrt_by_name(runtime)
    target_list = [target.strip().lower() for target in targets.split(",") if target.strip()]
    with console.steps() as on_step:
        built = build_engines(opened, tensorrt, target_list, _parse_profile(slices), on_step)
    for engine in built:
        console.print_line(describe_engine(opened, engine))


def _parse_profile(slices: str) -> BatchProfile:
    try:
        minimum, optimum, maximum = (int(count) for count in slices.split(","))
        if not 1 <= minimum <= optimum <= maximum:
            raise ValueError
    except ValueError as error:
        advice = "Give three whole numbers from 1 up, in ascending order: 1,1,4."
        raise InputError(f"is {slices}", advice, about="--slices") from error
    return BatchProfile(min=minimum, opt=optimum, max=maximum)


@app.command()
def verify(
    bundle: _Bundle,
    backend: Annotated[
        str, typer.Option(help="As in wmh-infer. Default: all for CPUs that are installed.")
    ] = "",
    device: Annotated[
        int | None,
        typer.Option(min=0, help="GPU index, from 0, for a backend that runs on GPUs."),
    ] = None,
    scans: Annotated[
        Path | None,
        typer.Option(
            help="Folder of scans. Slices of four of them are compared too, in addition to"
            " phantoms."
        ),
    ] = None,
) -> None:
    """Check hashes and schema, and compare a bundle on this machine with the trained network.

    Exit status: 0 all results agree, 1 a result differs and the manifest does not say so, 2 the
    bundle cannot be used.
    """
    opened = load_bundle(bundle)
    opened.verify_engines()
    gpus = () if device is None else (device,)
    candidates = list_candidates(opened, backend, gpus)
    manifest = opened.manifest
    console.print_line(f"{manifest.name}, model {manifest.model_id}")
    console.print_line(f"{len(manifest.files)} files match the manifest")
    selected = []
    if scans is not None:
        rules = ChannelRules(manifest.channels, manifest.interchangeable)
        selected = select_probe_scans(scans, rules)
        console.print_line(f"scans: {', '.join(case.path.name for case in selected)}")
    measured = verify_bundle(
        opened,
        candidates,
        selected,
        lambda parity: console.print_line(str(parity)),
        console.print_warning,
    )
    known = [parity for graph in manifest.graphs for parity in graph.parity]
    violations = [parity for parity in measured if parity.violation]
    new = [parity for parity in violations if not any(map(parity.is_known_violation, known))]
    for parity in violations:
        line = (
            f"{parity.precision} on {parity.backend}, {count_noun(parity.views, 'view')},"
            f" {parity.data}: {parity.violation}"
        )
        if parity in new:
            console.print_error(f"{line}. Use another precision or backend here.")
        else:
            console.print_warning(f"{line}, as the manifest says")
    if new:
        raise typer.Exit(console.EXIT_SOME_FAILED)
    console.print_line(f"{len(measured) - len(violations)} comparisons within tolerance")
    if any(parity.emulated for parity in measured):
        console.print_line(
            "fp16 was emulated on this CPU; wmh-infer compares it again on a GPU, at first use"
        )
    kinds = dict.fromkeys(engine.kind for engine in manifest.engines)
    if others := [kind for kind in kinds if kind != backend.lower()]:
        console.print_line(
            f"engines of {' and '.join(others)} were not executed: on a computer with their GPU,"
            " name them with --backend"
        )


@app.command()
def inspect(bundle: _Bundle) -> None:
    """Print the contents of a bundle: model, graphs, sizes, engines and their fused layers."""
    for line in describe_bundle(load_bundle(bundle)):
        console.print_line(line)


def main() -> None:
    """Run `wmh-export`."""
    console.run(app)
