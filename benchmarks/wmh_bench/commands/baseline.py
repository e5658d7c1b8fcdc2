"""`wmh-bench baseline`. PyTorch is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wmh_bench.commands.options import ResultsOption, parse_batch_sizes, require_writable
from wmh_bench.results import write_result
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cli import console
from wmh_runtime.errors import InputError

if TYPE_CHECKING:
    from wmh_bench.baseline.result import Baseline


def baseline(
    checkpoint: Annotated[Path, typer.Argument(help="Calibrated checkpoint folder.")],
    pretrained: Annotated[
        Path | None,
        typer.Option(help="Pretrained weights of the frozen encoder: medsam_vit_b.pth."),
    ] = None,
    bundle: Annotated[
        str, typer.Option(help="Bundle that was exported from it, to measure the runtime too.")
    ] = "",
    device: Annotated[
        str, typer.Option(help="cpu or cuda. Default: a GPU if PyTorch finds one.")
    ] = "",
    batch: Annotated[str, typer.Option(help="Batch sizes in slices, separated by commas.")] = "1",
    rounds: Annotated[
        int,
        typer.Option(min=1, help="How often each variant alternates with the reference method."),
    ] = 5,
    results: ResultsOption = None,
) -> None:
    """Measure the speed of the reference method, other PyTorch variants and the runtime.

    The reference method is eager PyTorch in float32 with separate LoRA adapters, one view after
    another. The other variants: merged adapters with all views in a batch,
    scaled_dot_product_attention, torch.compile, half precision, CUDA graphs. All have the same
    weights, and their masks are compared.
    """
    with console.require_extra("cpu,export"):
        from wmh_bench.baseline.measure import BaselineInputs, measure_baseline
        from wmh_bench.baseline.torch_timing import torch_device
    opened = load_bundle(bundle) if bundle else None
    if device.lower() not in ("", "cpu", "cuda"):
        raise InputError(f"is {device}", "Choose from: cpu, cuda.", about="--device")
    chosen = torch_device(device.lower())
    batch_sizes = parse_batch_sizes(batch)
    if not batch_sizes:
        raise InputError("is empty", "Give batch sizes, such as 1,4.", about="--batch")
    require_writable(results)

    def on_result(measured: Baseline, line: str) -> None:
        console.print_line(line)
        if results is not None:
            write_result(results, measured)

    inputs = BaselineInputs(checkpoint, pretrained, opened)
    with console.steps() as on_step:
        measure_baseline(inputs, chosen, batch_sizes, rounds, on_result, on_step)
