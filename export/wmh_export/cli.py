"""`wmh-export`: from a calibrated checkpoint to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wmh_export.assemble import build as build_bundle
from wmh_runtime.cli import terminal

app = terminal.command_line("Turn a checkpoint into a bundle that provably agrees with it.")


@app.callback()
def _commands() -> None:
    """Keep `build` a command of its own although it is the only one."""


@app.command()
def build(
    checkpoint: Annotated[Path, typer.Argument(help="Calibrated checkpoint folder.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to write; must not exist.")],
    base: Annotated[
        Path | None,
        typer.Option("--base", help="Weights of the frozen encoder: medsam_vit_b.pth."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name in every result. Default: the recipe's.")] = "",
    caution: Annotated[str, typer.Option(help="A warning that every result shall bear.")] = "",
    licence: Annotated[str, typer.Option(help="Of the weights, for the model card.")] = "",
) -> None:
    """Merge, trace to ONNX, compare with PyTorch, and write the bundle."""
    with terminal.err.status("exporting") as status:
        bundle = build_bundle(
            checkpoint,
            out,
            status.update,
            base=base,
            name=name,
            caution=caution,
            licence=licence,
        )
    for graph in bundle.manifest.graphs:
        terminal.say(
            f"{graph.path}: at most {graph.parity.max_abs_difference:.1e} from PyTorch in"
            f" probability, mask Dice {graph.parity.mask_dice:.4f}"
        )
    terminal.say(f"Bundle {bundle.manifest.model_id} in {out}")


def main() -> None:
    """Run `wmh-export`."""
    terminal.run(app)
