"""Slices of eight views on a GPU: how true and how fast each way to execute them is.

All execute one checkpoint. Correctness comes first: what a way gives is compared with the float32
network on the processor, and the difference stands beside the speed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from wmh_bench.gpu.ceilings import Ceilings, measure_ceilings
from wmh_bench.gpu.runtime_ways import Graphs, runtime_ways
from wmh_bench.gpu.timing import for_long_enough
from wmh_bench.gpu.torch_ways import torch_ways
from wmh_bench.gpu.ways import Way
from wmh_bench.machine import Machine, this_machine
from wmh_export.merge import merge
from wmh_export.rewrite import rewrite
from wmh_runtime.errors import ExportError, WmhError
from wmh_runtime.overlap import dice_of_masks
from wmh_runtime.phantom.cohort import PARITY_SEED
from wmh_runtime.questions import phantom_questions
from wmh_runtime.strict import Strict
from wmh_runtime.tta import VIEWS
from wmh_runtime.types import Floats, Precision
from wmh_train.backend import TorchBackend
from wmh_train.checkpoint import CheckpointFacts, load_facts, load_network
from wmh_train.model.network import WmhNetwork

_COMPARED = 4  # slices


class WaySpeed(Strict):
    """One way to execute a slice of eight views."""

    name: str
    precision: Precision
    slices: int  # at a time
    first_s: float  # from opening until the first slices are executed: loading, compiling
    timed: int  # batches
    median_ms: float  # a slice; of the runtime the interval between results, two batches under way
    p90_ms: float
    p95_ms: float
    p99_ms: float
    variation: float  # of the batches: standard deviation over mean
    views_per_s: float
    tflop_per_s: float  # of the rewritten network's operations, whatever the way has
    share_of_ceiling: float  # of the device's matrix products in the same precision
    memory_mb: float  # on the device, 10⁶ bytes: PyTorch's peak; what the runtime has taken of it
    max_abs_difference: float  # of probability, from float32 on the processor
    mask_dice: float  # likewise


class GpuViews(Strict):
    """The measurement."""

    machine: Machine
    gpu: str
    cuda: str  # that PyTorch was built for
    cudnn: int
    recipe: str
    size_px: int
    gflop_a_view: float  # products and convolutions, as PyTorch counts them
    ceilings: Ceilings
    ways: list[WaySpeed]
    skipped: dict[str, str]  # ways that could not be measured, and why


def measure_gpu_views(
    checkpoint: Path,
    base: Path | None,
    batches: Sequence[int],
    scratch: Path,
    on_way: Callable[[GpuViews, str], None],
) -> GpuViews:
    """Execute slices by all ways, one after another.

    Args:
        checkpoint: calibrated.
        base: weights that its encoder stands on.
        batches: slices at a time, smallest first.
        scratch: folder for graphs.
        on_way: is told, after each way, what was measured so far, and a line about the last.

    Raises:
        ExportError: the checkpoint is not calibrated for eight views.
    """
    facts = load_facts(checkpoint)
    thresholds = _thresholds(facts, checkpoint)
    network = load_network(checkpoint, facts, base)
    merged = merge(network)
    rewritten = rewrite(merged)
    truth = _ask(network, facts, thresholds)
    gpu = torch.device("cuda")
    measured = GpuViews(
        machine=this_machine(),
        gpu=torch.cuda.get_device_name(gpu),
        cuda=torch.version.cuda or "",
        cudnn=torch.backends.cudnn.version() or 0,  # type: ignore[no-untyped-call]
        recipe=facts.recipe.name,
        size_px=facts.recipe.preparation.size_px,
        gflop_a_view=round(_flop_a_view(rewritten, truth.slices[:1]) / 1e9, 1),
        ceilings=measure_ceilings(gpu),
        ways=[],
        skipped={},
    )
    graphs = Graphs(rewritten, TorchBackend.shape_of(facts.recipe), scratch)
    for way in (*torch_ways(network, merged, batches), *runtime_ways(graphs, batches)):
        try:
            speed = _measure(way, truth, measured)
        except (WmhError, RuntimeError) as error:  # PyTorch's are RuntimeErrors
            reason = f"{error}".strip().partition("\n")[0] or type(error).__name__
            measured.skipped[str(way)] = reason
            on_way(measured, f"{way}: skipped, {reason}")
        else:
            measured.ways.append(speed)
            on_way(
                measured,
                f"{speed.median_ms:9.2f} ms a slice  {speed.share_of_ceiling:4.0%} of the ceiling"
                f"  mask Dice {speed.mask_dice:.4f}  {way}",
            )
    return measured


@dataclass(frozen=True)
class _Truth:
    """What every way is compared with."""

    slices: Floats  # [n, C, S, S]
    probability: Floats  # [n, K, S, S], of eight views, float32 on the processor
    thresholds: Floats  # [K, 1, 1]


def _thresholds(facts: CheckpointFacts, checkpoint: Path) -> Floats:
    choices = facts.calibration.choices if facts.calibration is not None else []
    for choice in choices:
        if choice.views == len(VIEWS):
            return np.array([output.threshold for output in choice.outputs], np.float32)
    advice = f"Run: wmh-train calibrate {checkpoint} --data …"
    raise ExportError("is not calibrated for eight views", advice, about=checkpoint)


def _ask(network: WmhNetwork, facts: CheckpointFacts, thresholds: Floats) -> _Truth:
    recipe = facts.recipe
    slices = phantom_questions(
        PARITY_SEED, recipe.preparation, len(recipe.channels), _COMPARED
    ).slices
    with TorchBackend(network, recipe, views=len(VIEWS)) as backend:
        probability = backend.predict(slices)
    return _Truth(slices, probability, thresholds[:, None, None])


def _flop_a_view(network: WmhNetwork, one: Floats) -> int:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.from_numpy(one))
    return counter.get_total_flops()


def _measure(way: Way, truth: _Truth, measured: GpuViews) -> WaySpeed:
    way.prepare()
    started = time.perf_counter()
    with way.open() as opened:
        opened.predict(truth.slices[:1])
        first_s = time.perf_counter() - started
        found = opened.predict(truth.slices)
        batch = truth.slices[np.arange(way.slices) % len(truth.slices)]
        seconds = for_long_enough(lambda timed: opened.seconds(batch, timed))
        memory_mb = opened.memory_mb
    median_s = statistics.median(seconds) / way.slices
    p90_s, p95_s, p99_s = np.percentile(seconds, (90, 95, 99)) / way.slices
    tflop_per_s = len(VIEWS) * measured.gflop_a_view / median_s / 1e3
    return WaySpeed(
        name=way.name,
        precision=way.precision,
        slices=way.slices,
        first_s=round(first_s, 2),
        timed=len(seconds),
        median_ms=round(median_s * 1e3, 3),
        p90_ms=round(p90_s * 1e3, 3),
        p95_ms=round(p95_s * 1e3, 3),
        p99_ms=round(p99_s * 1e3, 3),
        variation=round(statistics.stdev(seconds) / statistics.mean(seconds), 4),
        views_per_s=round(len(VIEWS) / median_s, 1),
        tflop_per_s=round(tflop_per_s, 2),
        share_of_ceiling=round(tflop_per_s / measured.ceilings.tflop_per_s[way.precision], 4),
        memory_mb=memory_mb,
        max_abs_difference=float(f"{np.abs(found - truth.probability).max():.3g}"),
        mask_dice=round(
            dice_of_masks(found >= truth.thresholds, truth.probability >= truth.thresholds), 5
        ),
    )
