"""`wmh-export`: from a calibrated checkpoint to a bundle, its engines, and its proof.

Only `build` needs PyTorch; it alone imports what needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wmh_export.inspect import describe, engine_line
from wmh_runtime.backends.registry import find_backend, installed_backends
from wmh_runtime.bundle.bundle import open_bundle
from wmh_runtime.bundle.manifest import BatchProfile
from wmh_runtime.cli import console
from wmh_runtime.conformance.probe_slices import choose_scans
from wmh_runtime.conformance.verify import verify as verify_bundle
from wmh_runtime.errors import InputError
from wmh_runtime.text import count_noun

app = console.command_line("Turn a checkpoint into a bundle that is provably the same model.")

_Bundle = Annotated[str, typer.Argument(help="Bundle folder, or the name of a shipped one.")]


@app.command()
def build(
    checkpoint: Annotated[Path, typer.Argument(help="Calibrated checkpoint folder.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to write; must not exist.")],
    base: Annotated[
        Path | None,
        typer.Option("--base", help="Weights of the frozen encoder: medsam_vit_b.pth."),
    ] = None,
    scans: Annotated[
        Path | None,
        typer.Option(help="FLAIR scans: four are compared on and calibrate INT8."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name in every result. Default: the recipe's.")] = "",
    warning: Annotated[str, typer.Option(help="A warning that every result shall bear.")] = "",
    license_name: Annotated[
        str, typer.Option("--license", help="Of the weights, for the model card.")
    ] = "",
    without_int8: Annotated[
        bool, typer.Option("--without-int8", help="Leave INT8 out: its search takes most of it.")
    ] = False,
) -> None:
    """Merge, rewrite, trace to ONNX in FP32, FP16 and INT8, compare with the network, write.

    Exit status: 0 all precisions are in the bundle, 1 one of them is not the network and was left
    out, 2 there is no bundle.
    """
    assemble = console.load_module("wmh_export.build", extras="cpu,export")
    with console.steps() as on_step:
        built = assemble.build(
            checkpoint,
            out,
            on_step,
            base=base,
            scans=_chosen(scans),
            naming=assemble.Naming(name, warning, license_name),
            with_int8=not without_int8,
        )
    manifest = built.bundle.manifest
    for graph in manifest.graphs:
        for parity in graph.parity:
            console.print_line(str(parity))
    console.print_line(f"Bundle {manifest.model_id} in {out}")
    for reason in built.warnings:
        console.print_warning(reason)
    for reason in built.refused:
        console.print_error(reason)
    if built.refused:
        raise typer.Exit(console.EXIT_SOME_FAILED)


def _chosen(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    chosen = choose_scans(folder)
    console.print_line(f"scans: {', '.join(path.name for path in chosen)}")
    return chosen


@app.command()
def engines(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder that wmh-export wrote.")],
    runtime: Annotated[str, typer.Option(help="rtx or tensorrt.")],
    targets: Annotated[
        str, typer.Option(help="GPUs, of rtx: sm75, sm80, sm86, sm89, sm120, commas between.")
    ] = "",
    slices: Annotated[
        str, typer.Option(help="Least, usual and most at a time; each is eight views.")
    ] = "1,1,4",
) -> None:
    """Compile the FP16 graphs: rtx for any GPUs without having one, tensorrt for the one here."""
    engines = console.load_module("wmh_export.engines.engines", extras="cpu,export")
    compiler = console.load_module("wmh_export.engines.compiler", extras="cpu,export")
    opened = open_bundle(bundle)
    if opened.folder != bundle:
        problem = "is part of the program, not a folder of yours"
        raise InputError(problem, f"Copy it first from {opened.folder}.", about=bundle)
    toolkit = compiler.toolkit_named(runtime)
    wanted = [target.strip().lower() for target in targets.split(",") if target.strip()]
    with console.steps() as on_step:
        built = engines.build_engines(opened, toolkit, wanted, _profile(slices), on_step)
    for engine in built:
        console.print_line(engine_line(opened, engine))


def _profile(slices: str) -> BatchProfile:
    try:
        least, best, most = (int(count) for count in slices.split(","))
        if not 1 <= least <= best <= most:
            raise ValueError
    except ValueError as error:
        advice = "Give three rising whole numbers from 1 on: 1,1,4."
        raise InputError(f"is {slices}", advice, about="--slices") from error
    return BatchProfile(least=least, best=best, most=most)


@app.command()
def verify(
    bundle: _Bundle,
    backend: Annotated[
        str, typer.Option(help="onnxruntime or openvino. Default: all that are installed.")
    ] = "",
    scans: Annotated[
        Path | None, typer.Option(help="FLAIR scans: four are compared on besides phantoms.")
    ] = None,
) -> None:
    """Check hashes and schema, and compare what this machine computes with the trained network.

    Exit status: 0 all agree, 1 one of them does not, 2 the bundle cannot be used.
    """
    opened = open_bundle(bundle)
    opened.verify_engines()
    manifest = opened.manifest
    console.print_line(f"{manifest.name}, model {manifest.model_id}")
    console.print_line(f"{len(manifest.files)} files are those of the manifest")
    backends = [find_backend(backend)] if backend else installed_backends()
    chosen = _chosen(scans)
    measured = verify_bundle(
        opened,
        backends,
        chosen,
        lambda parity: console.print_line(str(parity)),
        console.print_warning,
    )
    known = [parity for graph in manifest.graphs for parity in graph.parity]
    beyond = [parity for parity in measured if parity.shortfall]
    new = [parity for parity in beyond if not any(map(parity.is_known_to_fall_short, known))]
    for parity in beyond:
        line = (
            f"{parity.precision} on {parity.backend}, {count_noun(parity.views, 'view')},"
            f" {parity.data}: {parity.shortfall}"
        )
        if parity in new:
            console.print_error(f"{line}. Use another precision or backend here.")
        else:
            console.print_warning(f"{line}, as the manifest says")
    if new:
        raise typer.Exit(console.EXIT_SOME_FAILED)
    console.print_line(f"{len(measured) - len(beyond)} comparisons within their bounds")
    if any(parity.emulated for parity in measured):
        console.print_line("fp16 was emulated: it is compared again where a GPU computes it")
    if engines := manifest.engines:
        console.print_line(
            f"{count_noun(len(engines), 'engine')} not executed: this version only builds them"
        )


@app.command()
def inspect(bundle: _Bundle) -> None:
    """Say what is in a bundle: model, graphs, sizes, engines and their fused layers."""
    for line in describe(open_bundle(bundle)):
        console.print_line(line)


def main() -> None:
    """Run `wmh-export`."""
    console.run(app)
